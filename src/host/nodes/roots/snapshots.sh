# Snapshots of labs: of each node's /var what is the lab's own. The images are in the golden root, which is kept as long.
#
#   snapshots/NAME/about      what nodes are made like again from, one line of JSON
#   snapshots/NAME/key        its golden root
#   snapshots/NAME/var/NODE   copies, and never links: what is in them somebody writes to
#   snapshots/NAME/files      every file with its size

files() { # FOLDER
  (cd "$1" && find var -type f -printf '%s %p\n') | sort
}

own() { # FROM TO: the cluster's state, every volume, and who the kubelet is; pods and containers are made anew
  mkdir -p "$2"
  (
    to=$PWD/$2
    cd "$1"
    for path in lib/etcd lib/wplab local-path-provisioner lib/kubelet/pki; do
      if [ -e "$path" ]; then cp -a --reflink=auto --parents "$path" "$to"; fi
    done
    find lib/kubelet -maxdepth 1 -type f -exec cp -a --reflink=auto --parents -t "$to" {} +
  )
}

all() { # waits for each of $pids
  for pid in $pids; do wait "$pid" || no "$1"; done
}

case $verb in
copy) # NODE...: of each one's /var, which is at /nodes/NODE; nobody writes to it now
  throw "$new"
  mkdir -p -m 0700 "$new"
  pids=
  for node; do
    own "/nodes/$node" "$new/var/$node" &
    pids="$pids $!"
  done
  all "a node could not be copied"
  ;;
keep) # NAME KEY: what was copied is a snapshot now; what it says of itself is on standard input
  cat >"$new/about"
  echo "$2" >"$new/key"
  files "$new" >"$new/files"
  sync -f .
  [ ! -e "snapshots/$1" ] || no "there is a snapshot $1 already"
  mv -T "$new" "snapshots/$1"
  ;;
list) # of each one its size in KiB and what it says of itself
  for about in snapshots/*/about; do
    if [ -e "$about" ]; then
      printf '%s ' "$(du -sk "${about%/about}" | cut -f 1)"
      cat "$about"
      echo
    fi
  done
  ;;
delete) # NAME
  throw "snapshots/$1"
  rm -rf trash/* || :
  ;;
unfold) # NAME KEY [NODE CONTAINER]...: a clone of the golden root for each, with what the snapshot has of that node's own
  name=$1 key=$2
  shift 2
  files "snapshots/$name" | cmp -s - "snapshots/$name/files" || no "snapshot $name is not as it was made"
  throw "$new"
  exec 9>lock
  flock -s 9
  pids=
  while [ $# -gt 0 ]; do
    {
      lay "$key" "$new/$2"
      cp -a --reflink=auto "snapshots/$name/var/$1/." "$new/$2/"
    } &
    pids="$pids $!"
    shift 2
  done
  all "a root could not be made from snapshot $name"
  # After a crash of the machine a database is there or the clone is not.
  find "$new" -name '*.db' -exec sync {} +
  touch "golden/$key/used"
  ;;
accounts) # whoever starts on what was unfolded gives its accounts the passwords that the Secrets have then
  find "$new" -maxdepth 6 -type d -name data -path '*data-db-*' | while read -r data; do
    : >"${data%/data}/accounts-pending"
  done
  find "$new" -maxdepth 7 -name .wplab-seeded | while read -r seeded; do
    : >"${seeded%seeded}passwords"
  done
  ;;
adopt) # CONTAINER LAB: what was unfolded there are the lab's clones now
  mv -T "building/$1" "clones/$2"
  rm -rf trash/* || :
  ;;
esac
