# What every script on the volume of golden roots begins with; its first argument is a verb. Nothing counts before it has
# been renamed to its place, so whoever is killed leaves only what the next one throws away.
#
#   golden/KEY/{rest,blobs,snapshots}   a node's /var with its images, and the two folders in it that clones share
#   golden/KEY/{names,files,used}       its images; every file with its size, or its hash; when it was last used
#   building/CONTAINER                  what is being made there
#   clones/LAB/NODE                     what a lab's node has as /var
#   snapshots/NAME                      a snapshot of a lab (snapshots.sh)
#   trash                               what is on its way out
set -eu
export LC_ALL=C
cd /roots
mkdir -p golden building clones snapshots trash
blobs=lib/containerd/io.containerd.content.v1.content/blobs
snapshots=lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots
new=building/$(hostname)
verb=$1
shift

no() { echo "$*" >&2; exit 1; }

throw() { # PATH...: away with it, in one moment
  for path; do
    thrown=$((${thrown:-0} + 1))
    if [ -e "$path" ]; then mv -T "$path" "trash/$(hostname).$$.$(date +%s).$thrown"; fi
  done
}

lay() { # KEY FOLDER: databases are written in place, so that they and all the rest are copies; layers and blobs never are
  mkdir -p "${2%/*}"
  cp -a "golden/$1/rest" "$2"
  cp -al "golden/$1/blobs" "$2/$blobs"
  cp -al "golden/$1/snapshots" "$2/$snapshots"
}
