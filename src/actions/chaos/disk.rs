//! A volume that can be full. The lab's volumes are folders on the machine's own disk, and filling that would hurt everybody
//! else on it. So the folder gets a small file system of its own for as long as the drill takes, with all that was in it; that
//! one is filled. Both are words of the node's shell; who may write there meanwhile is seen to by whoever says them.

/// What fills a volume.
const BALLAST: &str = ".wplab-chaos-ballast";
/// The file with the small file system, and what is written down beside it: the pod and the folder.
const IMAGE: &str = "/var/lib/wplab/chaos-volume.img";
const ABOUT: &str = "/var/lib/wplab/chaos-volume";
/// How much more than what is in it fits into a small volume, in MiB: a server that starts writes, too.
const SPARE: u32 = 192;

/// Only one of these words is under way on a node: an engine lets them go on when whoever said them is gone.
const ALONE: &str = "exec 9> /var/lib/wplab/chaos-volume.lock; flock 9";

/// Gives a folder a small file system of its own. Nobody may use it meanwhile. What was in it moves aside, and what is left below
/// cannot be used: where the small one is not there after a restart, nobody goes on from an older state.
pub(super) fn shrink(pod: &str, path: &str) -> String {
    format!(
        "{ALONE}
used=$(du -sm {path} | cut -f1)
mkdir -p /mnt/wplab-chaos
echo '{pod} {path}' > {ABOUT}
truncate -s $((used + used / 10 + {SPARE}))M {IMAGE}
mkfs.ext4 -q -F -m 0 {IMAGE}
mount -o loop {IMAGE} /mnt/wplab-chaos
rmdir /mnt/wplab-chaos/lost+found
cp -a {path}/. /mnt/wplab-chaos/
chown --reference={path} /mnt/wplab-chaos
chmod --reference={path} /mnt/wplab-chaos
umount /mnt/wplab-chaos
touch {ABOUT}.whole
mv {path} {path}.before
mkdir -m 000 {path}
chattr +i {path} 2>/dev/null || true
mount -o loop {IMAGE} {path}"
    )
}

/// Gives the folder back what is in its small file system by now. Nobody may use it meanwhile; where it is interrupted, it can
/// be said again: the folder has either all that it had or all that it gets.
pub(super) fn widen(path: &str) -> String {
    format!(
        "{ALONE}
[ -e {ABOUT} ] || exit 0
if mountpoint -q {path}; then umount {path}; fi
if mountpoint -q /mnt/wplab-chaos; then umount /mnt/wplab-chaos; fi
# An image that was never finished has nothing to give back, and the folder is as it was.
if [ -e {ABOUT}.whole ] && [ -e {IMAGE} ]; then
  mkdir -p /mnt/wplab-chaos
  mount -o loop {IMAGE} /mnt/wplab-chaos
  rm -f /mnt/wplab-chaos/{BALLAST}
  rm -rf {path}.new
  cp -a /mnt/wplab-chaos {path}.new
  umount /mnt/wplab-chaos
  if [ -e {path} ]; then
    chattr -i {path} 2>/dev/null || true
    rm -rf {path}.old
    mv {path} {path}.old
  fi
  mv {path}.new {path}
  rm -rf {path}.old {path}.before
fi
rm -f {IMAGE} {ABOUT}.whole
rm -f {ABOUT}"
    )
}

/// Fills a folder's own small file system to the last block.
pub(super) fn fill(path: &str) -> String {
    format!(
        "mountpoint -q {path}
fallocate -l $(df --output=avail -B1 {path} | tail -n 1) {path}/{BALLAST} || true
dd if=/dev/zero bs=4k status=none >> {path}/{BALLAST} 2>/dev/null || true"
    )
}

/// Makes room again.
pub(super) fn free(path: &str) -> String {
    format!("rm -f {path}/{BALLAST}")
}

/// Prints `full FOLDER` and `small POD FOLDER` where that is so.
pub(super) fn look() -> String {
    format!(
        "if [ -e {ABOUT} ]; then read -r pod path < {ABOUT}; \
         [ ! -e $path/{BALLAST} ] || echo full $path; echo small $pod $path; fi; true"
    )
}

/// What a node needs for that.
pub(super) const NEEDS: &str = "command -v mkfs.ext4 && [ -e /dev/loop-control ]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_after_an_interruption_never_loses_the_folder() {
        let words = widen("/v");
        let at = |piece: &str| words.find(piece).unwrap_or_else(|| panic!("{piece} in {words}"));
        assert!(
            at("cp -a /mnt/wplab-chaos /v.new") < at("mv /v /v.old")
                && at("mv /v.new /v") < at("rm -rf /v.old /v.before")
        );
        // What says that there is something to do goes last, and the folder moves aside only once all is copied.
        assert!(words.ends_with("\nrm -f /var/lib/wplab/chaos-volume") && words.contains("|| exit 0\n"), "{words}");
        let words = shrink("db-0", "/v");
        let at = |piece: &str| words.find(piece).unwrap_or_else(|| panic!("{piece} in {words}"));
        assert!(at("cp -a /v/.") < at(".whole") && at(".whole") < at("mv /v /v.before"));
    }

    #[test]
    fn only_a_file_system_of_its_own_is_filled() {
        assert!(fill("/v").starts_with("mountpoint -q /v\n"), "a folder on the machine's disk is not");
    }
}
