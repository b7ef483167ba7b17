#!/usr/bin/env bash
# Times each term of the lower bound alone: nothing else runs beside it. Prints `TERM SECONDS PROCESSOR-SECONDS` per line; the
# processor seconds are the whole machine's, less REST cores that it uses anyway. `tests/bench/bound.rs` composes them,
# `docs/performance.md` says how. Environment as for `lab/baseline/lib.sh`, and KIND_CONFIG, a file as wplab gives it to kind.
set -euo pipefail
cd "$(dirname "$0")"
: "${KIND_CONFIG:?}" "${NODE_IMAGE:?}" "${MYSQL_IMAGE:?}" "${WORDPRESS_IMAGE:?}" "${NFS_IMAGE:?}" "${METRICS_IMAGE:?}"
NAME=${NAME:-baseline}-terms REST=${REST:-0} NODES=()
for number in 0 1 2 3; do NODES+=("$NAME-boot-$number"); done
work=$(mktemp -d)
# kind's own network would stay.
export KUBECONFIG=$work/kubeconfig KIND_EXPERIMENTAL_DOCKER_NETWORK=$NAME
clean() {
  docker rm -fv "${NODES[@]}" "$NAME-db" "$NAME-site" > /dev/null 2>&1 || true
  docker volume rm "${NODES[@]}" > /dev/null 2>&1 || true
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
  echo "$name $before $(now)" | awk -v rest="$REST" '{t = $4 - $2; printf "%s %.2f %.2f\n", $1, t, $5 - $3 - rest * t}'
}
until_true() { local _; for _ in $(seq 1200); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*" >&2; return 1; }

# The containers of all nodes with kind's arguments, until systemd has come up in each: on new volumes, into which the engine
# copies what the image has in /var, and on the same once more, as clones of a golden root have it already.
booted() { docker logs "$1" 2>&1 | grep -q 'Reached target.*Multi-User System'; }
boot() {
  local node
  for node in "${NODES[@]}"; do
    docker run -d --tty --name "$node" --hostname "$node" --net "$NAME" --restart=on-failure:1 --init=false --cgroupns=private --privileged \
      --security-opt seccomp=unconfined --security-opt apparmor=unconfined --tmpfs /tmp --tmpfs /run --volume "$node:/var" \
      --volume /lib/modules:/lib/modules:ro "$NODE_IMAGE" &
  done
  wait
  for node in "${NODES[@]}"; do until_true booted "$node"; done
}
docker network create "$NAME" > /dev/null
term boot boot
docker rm -f "${NODES[@]}" > /dev/null
term filled boot
docker rm -f "${NODES[@]}" > /dev/null
docker volume rm "${NODES[@]}" > /dev/null

# All images out of Docker.
save() { docker save "$NFS_IMAGE" "$MYSQL_IMAGE" "$WORDPRESS_IMAGE" "$METRICS_IMAGE"; }
away() { save > /dev/null; }
term save away

# A cluster of as many nodes and nothing in it, until all are ready.
cluster() {
  kind create cluster --name "$NAME" --image "$NODE_IMAGE" --config "$KIND_CONFIG"
  kubectl wait --for=condition=Ready nodes --all --timeout=5m
}
term cluster cluster

# What an empty cluster uses at rest.
sleep 20
term idle sleep 20

# The same into one worker, as `kind load` imports them but without a file between.
import() {
  save | docker exec --privileged -i "$NAME-worker" ctr --namespace=k8s.io images import --all-platforms --digests --snapshotter=overlayfs -
}
term images import
kind delete cluster --name "$NAME" > /dev/null 2>&1

# One member: a data directory as the image brings it, or an empty one made, and a server on it that answers.
database() {
  docker run -d --name "$NAME-db" --net "$NAME" "$MYSQL_IMAGE" bash -c '
    cat > /tmp/init.sql <<< "CREATE DATABASE wordpress; CREATE USER wp@\"%\" IDENTIFIED BY \"wp\"; GRANT ALL ON wordpress.* TO wp@\"%\";"
    small="--user=mysql --mysqlx=OFF --innodb-buffer-pool-size=64M --innodb-redo-log-capacity=64M --performance-schema=OFF"
    packed=/usr/share/wplab/mysql-data.tar.gz
    if [ -f $packed ]; then tar -xzf $packed -C /var/lib/mysql; else mysqld $small --initialize-insecure; fi &&
      exec mysqld $small --init-file=/tmp/init.sql'
  until_true docker exec "$NAME-db" mysql -uwp -pwp -e 'use wordpress'
}
term database database

# wp-content copied file by file onto a volume; WordPress installed, and one page from an Apache that has started beside it.
docker run -d --name "$NAME-site" --net "$NAME" --volume /site -e WORDPRESS_DB_HOST="$NAME-db" -e WORDPRESS_DB_NAME=wordpress \
  -e WORDPRESS_DB_USER=wp -e WORDPRESS_DB_PASSWORD=wp -e WORDPRESS_SALT=salt -e WORDPRESS_URL=http://127.0.0.1 -e WORDPRESS_TITLE=wplab \
  -e WORDPRESS_ADMIN_USER=admin -e WORDPRESS_ADMIN_EMAIL=admin@example.org -e WORDPRESS_ADMIN_PASSWORD=adminpw \
  "$WORDPRESS_IMAGE" sleep infinity > /dev/null
for file in wp-config.php install.php; do
  awk -v file="$file" '$1 == file ":" {on = 1; next} on && /^(  [^ ]|---)/ {exit} on {print substr($0, 5)}' ../baseline/manifests/30-wordpress.yaml |
    docker exec -i "$NAME-site" sh -c "cat > /usr/src/wordpress/$file"
done
term files docker exec "$NAME-site" sh -c 'cp -a /usr/src/wordpress/wp-content/. /site/'
docker exec -d "$NAME-site" apache2-foreground
site() {
  docker exec "$NAME-site" php /usr/src/wordpress/install.php
  until_true docker exec "$NAME-site" php -r 'exit(str_contains((string) @file_get_contents("http://127.0.0.1/"), "<title>wplab") ? 0 : 1);'
}
term site site
