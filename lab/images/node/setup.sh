#!/bin/bash
# Last step of the node image: fits kind's files to this node.
set -euo pipefail

# kind reads exactly one line.
kubeadm version -o short | tr -d '\n' > /kind/version

chmod 755 /kind /kind/bin /kind/bin/* /usr/local/bin/entrypoint /usr/local/bin/clean-install
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service

# The pause image that is in the node, or containerd would try to fetch another.
# Containers may not have a lower OOM score than containerd itself, which is the
# most that an engine without CAP_SYS_RESOURCE allows.
config=/etc/containerd/config.toml
sed -i "s#sandbox_image = .*#sandbox_image = \"$(cat /tmp/pause-image)\"#; s/restrict_oom_score_adj = false/restrict_oom_score_adj = true/" "$config"
grep -q "sandbox_image = \"$(cat /tmp/pause-image)\"" "$config"
grep -q 'restrict_oom_score_adj = true' "$config"

# What every container starts from: no limits of its own, and no capability that
# the engine may not have to give. Without kind's hook, which runs bash, jq and cp
# for each container, so that cAdvisor in a pod sees no hardware of the machine's.
ctr oci spec |
  jq 'del(.process.rlimits)
      | (.process.capabilities[]?) |= map(select(. != "CAP_SYS_RESOURCE"))' > /etc/containerd/cri-base.json

# Every second containerd 2.3 would ask each shim, and read all of each pod's
# cgroup, to know how fast each uses the processor. Nobody wants to know: the
# kubelet has that from its own cAdvisor.
cat >> "$config" <<'TOML'

[plugins."io.containerd.cri.v1.runtime"]
  stats_collect_period = "24h"
TOML
containerd config dump | grep "stats_collect_period = '24h'"

# mount.nfs.userspace runs mount.nfs.kernel wherever the kernel has a client.
mv /usr/sbin/mount.nfs /usr/sbin/mount.nfs.kernel
ln -s mount.nfs.userspace /usr/sbin/mount.nfs
ln -sf mount.nfs.userspace /usr/sbin/mount.nfs4
