#!/bin/bash
# Compiles everything into a folder (see the Dockerfile for what is in it).
# usage: build.sh FOLDER
set -euo pipefail
out=$1
mkdir -p "$out"/{bin,node,control-plane,containerd,cni,etcd}

# The versions must be compiled in: kubeadm refuses odd ones, and API servers
# (metrics-server is one) drop API groups that do not exist yet in what they
# think is their version.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=$(echo "$version" | cut -d. -f2)
kubernetes=k8s.io/component-base/version
containerd=github.com/containerd/containerd/v2
plugins=github.com/containernetworking/plugins/plugins
flags="-s -w
  -X $kubernetes.gitVersion=$version -X $kubernetes.gitMajor=1 -X $kubernetes.gitMinor=$minor
  -X $kubernetes.gitTreeState=clean -X $kubernetes.gitCommit=unknown -X $kubernetes.buildDate=1970-01-01T00:00:00Z
  -X $containerd/version.Version=$(go list -m -f '{{.Version}}' $containerd)"
# Of containerd not what needs C libraries, nor what no node of a lab turns on.
tags=no_btrfs,no_devmapper,no_zfs,no_rdt,no_tracing,nri_no_wasm,grpcnotrace

# The compiler may use more memory before it looks for what it can give back.
export GOGC=400

# All in one call: what programs have in common is compiled once, and while one
# is linked, which takes one core, others are compiled.
go build -o "$out/bin/" -tags "$tags" -ldflags "$(echo $flags)" \
  ./control-plane ./node ./coredns ./etcd ./podnet k8s.io/kubernetes/cmd/kube-proxy \
  $containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2 $containerd/cmd/ctr \
  $plugins/main/ptp $plugins/main/bridge $plugins/main/loopback $plugins/ipam/host-local $plugins/meta/portmap \
  sigs.k8s.io/metrics-server/cmd/metrics-server
# It imports github.com/Sirupsen/logrus, which may not be in one call with github.com/sirupsen/logrus.
go build -o "$out/bin/" -tags "$tags" -ldflags "-s -w" github.com/rancher/local-path-provisioner

cd "$out"
mv bin/node node/kubelet
ln -s kubelet node/kubeadm
ln -s kubelet node/kubectl
mv bin/control-plane control-plane/kube-apiserver
for name in kube-controller-manager kube-scheduler; do ln -s kube-apiserver "control-plane/$name"; done
mv bin/containerd bin/containerd-shim-runc-v2 bin/ctr containerd/
mv bin/ptp bin/bridge bin/loopback bin/host-local bin/portmap cni/
mv bin/etcd etcd/
ln -s etcd etcd/etcdctl
mv bin/* .
rmdir bin

# fail here, not in the lab
node/kubeadm version -o short
for name in control-plane/* ./kube-proxy; do "$name" --version; done
containerd/containerd --version
etcd/etcd --version
./coredns -version
./metrics-server --version
