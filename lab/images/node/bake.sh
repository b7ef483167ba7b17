#!/bin/bash
# Fills /var/lib/containerd of the node with the images of the control plane and
# of the node's own daemons, so that a cluster starts without fetching anything.
#
# Each image is written as an entry of one Docker archive (manifest.json, a
# configuration and layers); containerd imports that without unpacking it, which
# takes no privilege at all: it runs in an ordinary build step.
#
# usage: bake.sh INPUTS
#   INPUTS/             what recipe programs compiled
#   INPUTS/pause, INPUTS/net-tools/   what recipe node-tools made
#   INPUTS/manifests/   of the node's own daemons
# Leaves the name of the pause image in /pause-image.
set -euo pipefail
inputs=$1
work=$(mktemp -d)
archive=$work/archive
mkdir "$archive"
arch=$(dpkg --print-architecture)
entries=()

layer() { # layer NAME FOLDER: a reproducible layer with the content of the folder
  mkdir -p "$archive/$1"
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$2" -cf "$archive/$1/layer.tar" .
}

program_layer() { # program_layer NAME FOLDER FILE...: a layer with these files of INPUTS in that folder
  local name=$1 folder=$2 root=$work/root
  shift 2
  rm -rf "$root"
  mkdir -p "$root$folder"
  (cd "$inputs" && cp -a "$@" "$root$folder")
  layer "$name" "$root"
}

image() { # image REFERENCE ENTRYPOINT LAYER...
  local reference=$1 entrypoint=$2 layer digests=() paths=() config config_name
  config_name=$(basename "$entrypoint")
  shift 2
  for layer in "$@"; do
    digests+=("sha256:$(sha256sum < "$archive/$layer/layer.tar" | cut -d' ' -f1)")
    paths+=("$layer/layer.tar")
  done
  config=$(jq -cn --arg arch "$arch" --arg entrypoint "$entrypoint" --args \
    '{architecture: $arch, os: "linux", created: "1970-01-01T00:00:00Z",
      config: {Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Entrypoint: [$entrypoint]},
      rootfs: {type: "layers", diff_ids: $ARGS.positional}}' "${digests[@]}")
  printf '%s' "$config" > "$archive/$config_name.json"
  entries+=("$(jq -cn --arg config "$config_name.json" --arg reference "$reference" --args \
    '{Config: $config, RepoTags: [$reference], Layers: $ARGS.positional}' "${paths[@]}")")
  echo "$reference"
}

# --- the images ---------------------------------------------------------------

layer net-tools "$inputs/net-tools"
program_layer control-plane /usr/local/bin/ control-plane/.
program_layer kube-proxy /usr/local/bin/ kube-proxy
program_layer etcd /usr/local/bin/ etcd/.
program_layer coredns / coredns
program_layer pause / pause
# kubeadm knows which images it will ask for, and under which names.
version=$("$inputs/node/kubeadm" version -o short)
for reference in $("$inputs/node/kubeadm" config images list --kubernetes-version "$version"); do
  name=${reference%:*} name=${name##*/}
  case $name in
    kube-proxy) image "$reference" /usr/local/bin/kube-proxy net-tools kube-proxy ;;
    kube-*)     image "$reference" "/usr/local/bin/$name" control-plane ;;
    etcd)       image "$reference" /usr/local/bin/etcd etcd ;;
    coredns)    image "$reference" /coredns coredns ;;
    pause)      image "$reference" /pause pause; printf '%s' "$reference" > /pause-image ;;
    *)          echo "no recipe for $reference" >&2; exit 1 ;;
  esac
done
# The node's own daemons, under the names in manifests/.
for reference in $(sed -n 's/^ *image: //p' "$inputs"/manifests/*.yaml | sort -u); do
  name=${reference%:*} name=${name##*/}
  program_layer "$name" /usr/bin/ "$name"
  image "$reference" "/usr/bin/$name" net-tools "$name"
done
printf '%s\n' "${entries[@]}" | jq -s . > "$archive/manifest.json"

# --- containerd -----------------------------------------------------------------

cat > "$work/config.toml" <<TOML
version = 2
root = "/var/lib/containerd"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/containerd.sock"
TOML
"$inputs/containerd/containerd" --config "$work/config.toml" > "$work/containerd.log" 2>&1 &
daemon=$!
ctr=("$inputs/containerd/ctr" --address "$work/containerd.sock" --namespace k8s.io)
until "${ctr[@]}" version > /dev/null 2>&1; do
  kill -0 "$daemon" 2>/dev/null || { cat "$work/containerd.log" >&2; exit 1; }
  sleep 0.1
done
tar -C "$archive" -cf - . | "${ctr[@]}" images import --no-unpack - || { tail -n 50 "$work/containerd.log" >&2; exit 1; }
"${ctr[@]}" images list -q
kill "$daemon"
wait "$daemon" || true # its databases are closed now
rm -rf "$work"
