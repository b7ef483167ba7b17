#!/usr/bin/env bash
# Tests mount.nfs against the NFS server image: one server, two clients
# ("nodes" a and b), in containers of their own. Needs Docker and /dev/fuse;
# takes about a minute and removes what it made. `cargo test-lab` runs it with
# the server as the lab has it (tests/storage.rs).
#
# usage: test.sh [SERVER_IMAGE [CLIENT_IMAGE]]
#   SERVER_IMAGE  built from recipe nfs            (wplab/nfs:dev)
#   CLIENT_IMAGE  built from recipe node           (wplab/node:dev)
#   MOUNT_NFS     a static binary to test instead of the client image's own
#   MEASURE=1     print figures as well
# and of the server, where it differs from what is below:
#   SERVER_CAPABILITIES, SERVER_COMMAND (of a shell), and SERVER_CONFIG, a file
#   that it finds as /etc/wplab/ganesha.conf
set -uo pipefail
server_image=${1:-wplab/nfs:dev} client_image=${2:-wplab/node:dev}
prefix=mount-nfs-test-$$
label=wplab.dev/test=mount-nfs
options=nfsvers=4.1,hard,noatime,timeo=600,retrans=2
failures=0
scratch=$(mktemp -d)

# --- helpers --------------------------------------------------------------------

cleanup() {
  docker rm -f -v "$prefix-server" "$prefix-a" "$prefix-b" >/dev/null 2>&1
  docker volume rm "$prefix-export" >/dev/null 2>&1
  docker network rm "$prefix" >/dev/null 2>&1
  rm -rf "$scratch"
}
trap cleanup EXIT

on() { # on NODE COMMAND: everything has a limit, for a hard mount waits for ever
  local node=$1
  shift
  timeout "${LIMIT:-60}" docker exec -i "$prefix-$node" timeout "${LIMIT:-60}" bash -c "$*"
}
check() { # check DESCRIPTION COMMAND...
  local description=$1
  shift
  if "$@"; then echo "ok      $description"; else
    echo "FAILED  $description"
    failures=$((failures + 1))
  fi
}
same() { [[ $1 == "$2" ]] || { echo "  '$1' is not '$2'"; false; }; }
seconds() { # seconds NODE COMMAND: how long it takes there
  on "$1" "s=\$(date +%s%N); { $2; } >/dev/null; echo \$(((\$(date +%s%N) - s) / 10000000)) | sed 's/..\$/.&/'"
}
kill_server() { docker kill -s KILL "$prefix-server" >/dev/null; }
start_server() { docker start "$prefix-server" >/dev/null; }
mounted() { on "$1" "grep -q ' $2 ' /proc/mounts"; }
no_daemon() { on "$1" 'sleep 1; ! pgrep -f ^mount.nfs >/dev/null'; }

# --- set-up ---------------------------------------------------------------------

server_command=${SERVER_COMMAND:-exec ganesha.nfsd -F -L /dev/stdout -f /etc/ganesha/ganesha.conf}
# Not the engine's filter of system calls, which is another one than that of the nodes.
rights=(--cap-drop ALL --security-opt no-new-privileges --security-opt seccomp=unconfined)
for right in ${SERVER_CAPABILITIES:-CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID SETGID SETUID}; do
  rights+=(--cap-add "$right")
done
docker network create --label "$label" "$prefix" >/dev/null || exit 1
docker volume create --label "$label" "$prefix-export" >/dev/null
docker create --name "$prefix-server" --label "$label" "${rights[@]}" --network "$prefix" -v "$prefix-export:/export" \
  --tmpfs /var/run/ganesha --entrypoint sh "$server_image" -c "$server_command" >/dev/null || exit 1
if [[ -n ${SERVER_CONFIG:-} ]]; then
  mkdir "$scratch/wplab"
  cp "$SERVER_CONFIG" "$scratch/wplab/ganesha.conf"
  docker cp "$scratch/wplab" "$prefix-server:/etc/" >/dev/null || exit 1
fi
start_server
server=$(docker inspect -f "{{(index .NetworkSettings.Networks \"$prefix\").IPAddress}}" "$prefix-server")
for node in a b; do
  docker run -d --name "$prefix-$node" --hostname "node-$node" --label "$label" --privileged --device /dev/fuse --network "$prefix" \
    -e MOUNT_NFS_USERSPACE=1 --entrypoint sleep "$client_image" infinity >/dev/null || exit 1
  [[ -z ${MOUNT_NFS:-} ]] || docker cp "$MOUNT_NFS" "$prefix-$node:/usr/sbin/mount.nfs.userspace" >/dev/null
  check "mount on $node" on "$node" "mkdir -p /m; MOUNT_NFS_LOG=/tmp/log mount -t nfs $server:/export /m -o $options"
done

# --- what one node does, the other sees --------------------------------------------

on a 'echo one > /m/f'
check 'written on a, read on b' same "$(on b 'cat /m/f')" one
on a 'echo twotwo > /m/f'
check 'written again, read at once (close-to-open)' same "$(on b 'cat /m/f')" twotwo
on b 'stat /m/f >/dev/null'
on a 'echo longer still >> /m/f'
check 'appended, read at once' same "$(on b 'wc -l < /m/f')" 2
on a 'mv /m/f /m/g'
check 'renamed: the new name is there' same "$(on b 'wc -l < /m/g')" 2
check 'renamed: the old name is gone within 1.1 s' on b 'sleep 1.1; ! cat /m/f 2>/dev/null'
on a 'rm /m/g'
check 'deleted: opening fails at once' on b '! cat /m/g 2>/dev/null'
on a 'echo x > /m/h'
on b 'stat /m/h >/dev/null'
on a 'rm /m/h'
check 'deleted: gone from the cache within 1.1 s' on b 'sleep 1.1; ! stat /m/h 2>/dev/null'
on a 'touch /m/new'
check 'created: listed' on b 'ls /m | grep -q new'

# --- semantics ----------------------------------------------------------------------

check 'directories, links, modes, owners, times, sizes, fifos' on a '
  set -e; cd /m; mkdir d; ln -s ../x d/s; [ $(readlink d/s) = ../x ]
  echo abcdef > d/t; ln d/t d/u; [ $(stat -c %h d/t) = 2 ]
  chmod 4640 d/t; [ $(stat -c %a d/t) = 4640 ]; chown 33:44 d/t; [ $(stat -c %u:%g d/t) = 33:44 ]
  touch -d @1000000000.5 d/t; [ $(stat -c %.1Y d/t) = 1000000000.5 ]
  truncate -s 3 d/t; [ $(cat d/u) = abc ]; truncate -s 0 d/t; [ ! -s d/u ]
  rm -r d; [ ! -e d ]; mkfifo p; [ -p p ]; rm p'
exclusive='set -C; for i in $(seq 50); do echo x 2>/dev/null > /m/x$i && echo w; done'
winners=$( (on a "$exclusive" & on b "$exclusive"; wait) 2>/dev/null | grep -c w)
check 'exclusive creation has one winner of two nodes' same "$winners" 50
on a 'rm /m/x*'
check 'an open file survives its removal, and goes when closed' on a '
  cd /m; echo keep > o; exec 5<o; rm o; read -u5 line; [ "$line" = keep ] && ls -A | grep -q "^.nfs" &&
  exec 5<&- && sleep 0.2 && ! ls -A | grep -q "^.nfs"'
check 'a removed open file has no link, and still takes what is written' on a '
  cd /m; exec 5<>o; rm o; [ "$(stat -Lc %h /dev/fd/5)" = 0 ] && echo late >&5 && [ "$(stat -Lc %s /dev/fd/5)" = 5 ]'
check 'a failed rename leaves the open file that it was to replace' on a "
  mkdir -p /n && mount -t nfs $server:/export /n -o nfsvers=4.1 || exit 1
  cd /m; echo keep > t; echo source > s; stat s >/dev/null; exec 5<t; rm /n/s
  ! perl -e 'rename(\"s\", \"t\") or exit 1' && [ \$(cat t) = keep ] && ! ls -A | grep '^.nfs' &&
  exec 5<&- && [ \$(cat /n/t) = keep ] && umount /n"
check 'a read-only mount takes nothing' on a "
  mount -t nfs $server:/export /n -o nfsvers=4.1,ro && cat /n/t >/dev/null &&
  touch /n/t 2>&1 | grep -q 'Read-only' && mkdir /n/r 2>&1 | grep -q 'Read-only' && umount /n"
check 'times before 1970' on a 'cd /m; touch -d @-1.25 t; [ "$(stat -c %.2Y t)" = -1.25 ]'
check 'users: its own files written, those of root refused' on a '
  cd /m; mkdir -m 1777 w
  setpriv --reuid 33 --regid 33 --clear-groups sh -c "echo hi > w/u" && [ $(stat -c %u w/u) = 33 ] &&
  (umask 077; echo s > w/root) && ! setpriv --reuid 33 --regid 33 --clear-groups cat w/root 2>/dev/null'
check 'a supplementary group gives access' on a '
  cd /m; mkdir -m 2770 grp; chgrp 4321 grp
  setpriv --reuid 1234 --regid 1234 --groups 4321 touch grp/f && [ $(stat -c %u:%g grp/f) = 1234:4321 ]'
check 'df names the export' on a "df /m | grep -q '$server:/export'"
check 'names that are not UTF-8' on a '
  cd /m; n=$(printf "caf\351 \303\251"); echo 1 > "$n"; [ "$(ls | grep -ac caf)" = 1 ] && rm "$n"'
check 'a tree copied in reads back equal on the other node' on a 'tar -C /usr/share -cf - systemd | tee /m/tree.tar | tar -C /m -xf -'
check '  there' on b 'tar -C /m -df /m/tree.tar'

# --- locks ------------------------------------------------------------------------------

hold() { # hold FILE: node a holds a lock on it, in the background, until `release`
  on a 'rm -f /tmp/release'
  : > "$scratch/held"
  on a "flock $1 -c 'echo held; until [ -e /tmp/release ]; do sleep 0.1; done'" > "$scratch/held" &
  holder=$!
  until [[ -s $scratch/held ]]; do sleep 0.1; done
}
release() { on a 'touch /tmp/release'; wait "$holder"; }
taken() { on "$1" "flock -n -E 77 $2 true"; (($? == 77)); } # taken NODE FILE: by somebody else; no other failure counts
taken_soon() { for _ in $(seq 100); do taken "$@" && return; done; false; }

hold /m/lock
check 'a lock excludes on its own node' taken a /m/lock
check 'a lock excludes on the other node' taken b /m/lock
on b 'flock -w 40 /m/lock true' &
waiter=$!
release
check 'a waiter on the other node gets it in the end' wait "$waiter"

# --- the server dies ------------------------------------------------------------------------

lines='
  for i in $(seq 0 1499); do
    echo $i | dd of=/m/lines oflag=append conv=notrunc,fsync status=none || echo bad
    echo $i > /tmp/acknowledged
  done; echo end'
names='
  for i in $(seq 200); do
    mkdir /m/d$i || echo bad; echo $i > /m/d$i/f || echo bad; mv /m/d$i/f /m/d$i/g || echo bad
    rm /m/d$i/g || echo bad; rmdir /m/d$i || echo bad; sleep 0.02
  done; echo end'
LIMIT=120 on a "$lines" > "$scratch/lines" &
writer=$!
LIMIT=120 on b "$names" > "$scratch/names" &
namer=$!
for line in 300 900; do
  until acknowledged=$(on a 'cat /tmp/acknowledged' 2>/dev/null) && ((${acknowledged:-0} >= line)); do sleep 0.1; done
  kill_server
  echo "        killed at line $acknowledged, 2 s down"
  sleep 2
  start_server
done
wait "$writer"
wait "$namer"
check 'a writer goes on through two kills' same "$(cat "$scratch/lines")" end
check 'every line it was told is safe is there, in order, once' on b 'seq 0 1499 | cmp - /m/lines'
check 'creating and renaming saw no error through the kills' same "$(cat "$scratch/names")" end

LIMIT=120 on a 'head -c 150M /dev/urandom | tee /m/r | md5sum > /tmp/sum' &
copier=$!
until (($(on b 'stat -c %s /m/r 2>/dev/null || echo 0') > 20000000)); do :; done
kill_server
echo "        killed at $(on a 'stat -c %s /tmp/sum') bytes of the sum written (0: still copying)"
sleep 2
start_server
wait "$copier"
check '150 MB copied over a kill are intact' same "$(LIMIT=120 on b 'md5sum < /m/r')" "$(on a 'cat /tmp/sum')"

hold /m/lock2
kill_server
start_server
check 'a lock held over a restart is held again' taken_soon b /m/lock2
release
check '  and is free once it is released' on b 'flock -w 20 /m/lock2 true'

# --- what must fail, and unmounting --------------------------------------------------------------

check 'a wrong export fails with code 32' on a "mkdir -p /n; mount -t nfs $server:/nope /n -o nfsvers=4.1,retry=0 2>/dev/null; [ \$? = 32 ]"
check 'version 3 is refused' on a "! mount -t nfs $server:/export /n -o nfsvers=3 2>/dev/null"
check 'a second mount on the node, by -t nfs4' on a "mount -t nfs4 $server:/export /n && ls /n/lines >/dev/null && umount /n"
check 'mounting from a dead server fails in time' on a '! mount -t nfs 192.0.2.1:/export /n -o nfsvers=4.1,retry=0 2>/dev/null'
on a 'umount /m'
check 'unmounted, and no daemon left' no_daemon a
kill_server
sleep 1
on b 'timeout 20 umount /m'
check 'unmounted with the server gone' eval '! mounted b /m'
check '  and no daemon left' on b 'for i in $(seq 10); do pgrep -f ^mount.nfs >/dev/null || exit 0; sleep 1; done; exit 1'
start_server

# --- figures -------------------------------------------------------------------------------------

if [[ -n ${MEASURE:-} ]]; then
  for node in a b; do on "$node" "mount -t nfs $server:/export /m -o $options"; done
  echo "1000 files of 4 KiB created: $(seconds a 'mkdir /m/many; head -c 4096 /dev/urandom > /tmp/4k; cd /m/many; for i in $(seq 1000); do cat /tmp/4k > $i; done') s"
  echo "                    read on b: $(seconds b 'cat /m/many/*') s"
  echo "100 MB written and synced:   $(seconds a 'dd if=/dev/zero of=/m/big bs=1M count=100 conv=fsync status=none') s"
  echo "                    read on b: $(seconds b 'cat /m/big') s"
fi

if ((failures)); then echo "$failures failed"; exit 1; fi
echo 'all passed'
