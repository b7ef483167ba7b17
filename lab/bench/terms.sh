#!/usr/bin/env bash
# Times each term of the lower bound alone: nothing else runs beside it. Prints `TERM SECONDS PROCESSOR-SECONDS` per line; the
# processor seconds are the whole machine's. `tests/bench/bound.rs` composes them, `docs/performance.md` says how.
# Environment as for `lab/baseline/lib.sh`.
set -euo pipefail
cd "$(dirname "$0")"
: "${NODE_IMAGE:?}" "${MYSQL_IMAGE:?}" "${WORDPRESS_IMAGE:?}" "${NFS_IMAGE:?}" "${METRICS_IMAGE:?}"
NAME=${NAME:-baseline}-terms WORKERS=3 NODES=()
for number in 0 1 2 3; do NODES+=("$NAME-boot-$number"); done
work=$(mktemp -d)
export KUBECONFIG=$work/kubeconfig
clean() {
  docker rm -fv "${NODES[@]}" "$NAME-db" "$NAME-site" > /dev/null 2>&1 || true
  kind delete cluster --name "$NAME" > /dev/null 2>&1 || true
  docker network rm "$NAME" > /dev/null 2>&1 || true
}
trap 'clean; rm -rf "$work"' EXIT
clean

now() { local up _; read -r up _ < /proc/uptime; echo "$up $(awk '/^cpu /{print ($2 + $3 + $4 + $7 + $8 + $9) / 100; exit}' /proc/stat)"; }
term() { # term NAME COMMAND...: what it takes
  local name=$1 before; shift
  sync; sleep 2; before=$(now)
  "$@" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  echo "$name $before $(now)" | awk '{printf "%s %.2f %.2f\n", $1, $4 - $2, $5 - $3}'
}
until_true() { local _; for _ in $(seq 1200); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*" >&2; return 1; }

# The containers of all nodes with kind's arguments, until systemd has come up in each.
booted() { docker logs "$1" 2>&1 | grep -q 'Reached target.*Multi-User System'; }
boot() {
  local node
  for node in "${NODES[@]}"; do
    docker run -d --tty --name "$node" --hostname "$node" --net "$NAME" --restart=on-failure:1 --init=false --cgroupns=private --privileged \
      --security-opt seccomp=unconfined --security-opt apparmor=unconfined --tmpfs /tmp --tmpfs /run --volume /var \
      --volume /lib/modules:/lib/modules:ro "$NODE_IMAGE" &
  done
  wait
  for node in "${NODES[@]}"; do until_true booted "$node"; done
}
docker network create "$NAME" > /dev/null
term boot boot
docker rm -fv "${NODES[@]}" > /dev/null

# A cluster of as many nodes and nothing in it, until all are ready; the boot is in it and taken out later.
cluster() {
  sed 's/hostPort: 8080/hostPort: 0/' ../baseline/kind.yaml | kind create cluster --name "$NAME" --image "$NODE_IMAGE" --config -
  kubectl wait --for=condition=Ready nodes --all --timeout=5m
}
term cluster cluster

# What an empty cluster uses at rest.
sleep 20
term idle sleep 20

# All images from Docker into one worker, as `kind load` imports them but without a file between: hashing and unpacking.
import() {
  docker save "$NFS_IMAGE" "$MYSQL_IMAGE" "$WORDPRESS_IMAGE" "$METRICS_IMAGE" |
    docker exec --privileged -i "$NAME-worker" ctr --namespace=k8s.io images import --all-platforms --digests --snapshotter=overlayfs -
}
term images import
kind delete cluster --name "$NAME" > /dev/null 2>&1

# One member: an empty data directory made, and a server on it that answers.
database() {
  docker run -d --name "$NAME-db" --net "$NAME" "$MYSQL_IMAGE" bash -c '
    cat > /tmp/init.sql <<< "CREATE DATABASE wordpress; CREATE USER wp@\"%\" IDENTIFIED BY \"wp\"; GRANT ALL ON wordpress.* TO wp@\"%\";"
    small="--user=mysql --mysqlx=OFF --innodb-buffer-pool-size=64M --innodb-redo-log-capacity=64M --performance-schema=OFF"
    mysqld $small --initialize-insecure && exec mysqld $small --init-file=/tmp/init.sql'
  until_true docker exec "$NAME-db" mysql -uroot -e 'use wordpress'
}
term database database

# wp-content copied file by file onto a volume, WordPress installed, Apache started, one page.
docker run -d --name "$NAME-site" --net "$NAME" --volume /site -e WORDPRESS_DB_HOST="$NAME-db" -e WORDPRESS_DB_NAME=wordpress \
  -e WORDPRESS_DB_USER=wp -e WORDPRESS_DB_PASSWORD=wp -e WORDPRESS_SALT=salt -e WORDPRESS_URL=http://127.0.0.1 -e WORDPRESS_TITLE=wplab \
  -e WORDPRESS_ADMIN_USER=admin -e WORDPRESS_ADMIN_EMAIL=admin@example.org -e WORDPRESS_ADMIN_PASSWORD=adminpw \
  "$WORDPRESS_IMAGE" sleep infinity > /dev/null
for file in wp-config.php install.php; do
  awk -v file="$file" '$1 == file ":" {on = 1; next} on && /^(  [^ ]|---)/ {exit} on {print substr($0, 5)}' ../baseline/manifests/30-wordpress.yaml |
    docker exec -i "$NAME-site" sh -c "cat > /usr/src/wordpress/$file"
done
term files docker exec "$NAME-site" sh -c 'cp -a /usr/src/wordpress/wp-content/. /site/ && sync /site'
site() {
  docker exec "$NAME-site" php /usr/src/wordpress/install.php
  docker exec -d "$NAME-site" apache2-foreground
  until_true docker exec "$NAME-site" php -r 'exit(str_contains((string) @file_get_contents("http://127.0.0.1/"), "<title>wplab") ? 0 : 1);'
}
term site site
