# Golden roots and their clones, in a container of a node image that has the volume at /roots.

ctr() { command ctr --namespace=k8s.io "$@" 2>/tmp/ctr.err || { tail -n 3 /tmp/ctr.err >&2; return 1; }; }

files() { # FOLDER: what must not have changed
  (cd "$1" && find rest -name '*.db' -exec sha256sum {} + && find rest blobs snapshots -type f -printf '%s %p\n') | sort
}

sound() { # KEY
  [ -d "golden/$1" ] && files "golden/$1" | cmp -s - "golden/$1/files"
}

pinned() { # KEY: a snapshot cannot do without it
  grep -qxsF "$1" snapshots/*/key
}

case $verb in
open) # LAB: what an earlier attempt has left goes
  [ "$(stat -c %i /roots)" = "$(stat -c %i /seen)" ] || no "the volume is not where the engine says that it is"
  throw "$new" "clones/$1"
  ;;
holds) # KEY: whether it is there and sound
  [ -d "golden/$1" ] || exit 3
  sound "$1" && exit 0
  throw "golden/$1"
  exit 4
  ;;
list) # the keys, the last used first
  for used in $(ls -t golden/*/used 2>/dev/null); do
    key=${used#golden/}
    echo "${key%/used}"
  done
  ;;
begin) # PREFIX: containerd on what is nearest: another golden root of the same node image, or what that image has
  grep -q 'snapshotter = "overlayfs"' /etc/containerd/config.toml || no "this node image has another snapshotter"
  case $(stat -f -c %T /kind) in zfs | fuseblk) no "nodes have another snapshotter on this file system" ;; esac
  nearest=
  for used in $(ls -t golden/"$1"-*/used 2>/dev/null); do
    key=${used#golden/} key=${key%/used}
    if sound "$key"; then nearest=$key; break; fi
  done
  if [ -n "$nearest" ]; then
    lay "$nearest" "$new/var"
    cp "golden/$nearest/names" "$new/names"
  else
    mkdir -p "$new"
    cp -a /var "$new/var"
    : >"$new/names"
  fi
  rm -rf /run/containerd
  setsid containerd --root "/roots/$new/var/lib/containerd" --state /run/containerd >/tmp/containerd.log 2>&1 </dev/null &
  echo $! >/tmp/containerd.pid
  ;;
finish) # KEY NAME...: with these images of ours and those of the node image, each unpacked, and nothing at work
  key=$1
  shift
  ctr images ls >/tmp/images
  for old in $(cat "$new/names"); do
    case " $* " in *" $old "*) continue ;; esac
    digest=$(awk -v name="$old" '$1 == name { print $3 }' /tmp/images)
    # The kubelet's side of containerd knows it by its id, too.
    ctr images rm --sync $(awk -v digest="$digest" '$3 == digest { print $1 }' /tmp/images) >/dev/null
  done
  for digest in $(awk 'NR > 1 { print $3 }' /tmp/images | sort -u); do
    if ctr images ls -q "target.digest==$digest" | grep -q .; then
      ctr snapshots --snapshotter=overlayfs unpack "$digest" >/dev/null
    fi
  done
  ctr images check --snapshotter=overlayfs >/tmp/images
  for name; do
    awk -v name="$name" '$1 == name && / complete / && $NF == "true" { ok = 1 } END { exit !ok }' /tmp/images ||
      no "containerd does not have all of $name"
  done
  awk 'NR > 1 && ($NF != "true" || !/ complete /) { print $1; bad = 1 } END { exit bad }' /tmp/images ||
    no "containerd does not have all of that"
  [ -z "$(ctr containers ls -q)" ] || no "containerd has containers"
  [ -z "$(ctr leases ls -q)" ] || no "containerd still holds leases"
  [ "$(ctr content active | wc -l)" -le 1 ] || no "containerd still takes content in"
  ! ctr snapshots --snapshotter=overlayfs ls | grep -qw Active || no "containerd has snapshots that are written to"
  pid=$(cat /tmp/containerd.pid)
  kill "$pid"
  # Its memory is released before its zombie is: who has no executable any more has closed its databases.
  timeout 60 sh -c "while [ -e /proc/$pid/exe ]; do sleep 0.1; done" || no "containerd does not end"
  rm -f "$new/var/lib/containerd/io.containerd.grpc.v1.introspection/uuid"
  mv "$new/var/$blobs" "$new/blobs"
  mv "$new/var/$snapshots" "$new/snapshots"
  mv "$new/var" "$new/rest"
  printf '%s\n' "$@" >"$new/names"
  files "$new" >"$new/files"
  : >"$new/used"
  sync -f .
  # Somebody else may have made the same meanwhile, which is as good.
  mv -T "$new" "golden/$key" 2>/dev/null || { [ -d "golden/$key" ] && throw "$new"; }
  ;;
clone) # KEY LAB NODE...
  key=$1 lab=$2
  shift 2
  exec 9>lock
  flock -s 9
  pids=
  for node; do
    lay "$key" "$new/$node" &
    pids="$pids $!"
  done
  for pid in $pids; do wait "$pid" || no "a root could not be cloned"; done
  # After a crash of the machine a database is there or the clone is not.
  find "$new" -name '*.db' -exec sync {} +
  mv -T "$new" "clones/$lab"
  touch "golden/$key/used"
  flock -u 9
  rm -rf trash/* || :
  ;;
drop) # LAB
  throw "$new" "clones/$1"
  rm -rf trash/* || :
  ;;
prune) # DAYS MOST KILOBYTES CONTAINER...: which golden roots stay; clones and buildings stay with their containers
  days=$1 most=$2 size=$3
  shift 3
  exec 9>lock
  flock 9
  for left in building/* clones/*; do
    [ -e "$left" ] || continue
    name=${left#*/}
    case " $* " in *" $name "* | *" wplab-roots.$name "*) continue ;; esac
    # Somebody may have begun after it was asked who is there.
    if [ -n "$(find "$left" -maxdepth 0 -cmin +10)" ]; then throw "$left"; fi
  done
  nth=0
  for used in $(ls -t golden/*/used 2>/dev/null); do
    golden=${used%/used}
    if pinned "${golden#golden/}"; then continue; fi
    nth=$((nth + 1))
    if [ "$nth" -gt "$most" ] || { [ "$nth" -gt 1 ] && [ -n "$(find "$used" -mtime "+$days")" ]; }; then
      throw "$golden"
      echo "${golden#golden/}"
    elif [ "$nth" -gt 2 ] && [ "$(du -sk golden | cut -f 1)" -gt "$size" ]; then
      throw "$golden"
      echo "${golden#golden/}"
    fi
  done
  # Without a mark it was never finished.
  for golden in golden/*; do
    if [ -d "$golden" ] && [ ! -e "$golden/used" ]; then throw "$golden"; fi
  done
  flock -u 9
  rm -rf trash/* || :
  ;;
esac
