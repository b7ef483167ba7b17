# Clones for nodes that come to a lab later, or leave it, in the container that holds the volume for the lab.

case $verb in
add) # KEY LAB NODE...: whatever is there under their names is nobody's
  key=$1 lab=$2
  shift 2
  [ -d "golden/$key" ] && [ -d "clones/$lab" ] || exit 3
  throw "$new"
  exec 9>lock
  flock -s 9
  pids=
  for node; do
    throw "clones/$lab/$node"
    lay "$key" "$new/$node" &
    pids="$pids $!"
  done
  for pid in $pids; do wait "$pid" || no "a root could not be cloned"; done
  # After a crash of the machine a database is there or the clone is not.
  find "$new" -name '*.db' -exec sync {} +
  for node; do mv -T "$new/$node" "clones/$lab/$node"; done
  rmdir "$new"
  touch "golden/$key/used"
  flock -u 9
  rm -rf trash/* || :
  ;;
part) # LAB NODE...
  lab=$1
  shift
  for node; do throw "clones/$lab/$node"; done
  rm -rf trash/* || :
  ;;
esac
