#!/bin/bash
# Puts a small root file system into a folder: the programs that kube-proxy,
# podnet and the local-path provisioner call, the libraries these need, and
# busybox for everything else. An ordinary Debian layer would be ten times that.
# usage: net-tools.sh FOLDER
set -euo pipefail
root=$1

copy() { # copy FILE: it, the links that lead to it and its libraries
  local file=$1 target library
  [[ -e $root$file || -L $root$file ]] && return
  mkdir -p "$root${file%/*}"
  if [[ -L $file ]]; then
    target=$(readlink "$file")
    [[ $target == /* ]] || target=$(realpath -s "${file%/*}/$target")
    cp -a "$file" "$root$file"
    copy "$target"
    return
  fi
  cp -a "$file" "$root$file"
  # none for static programs
  for library in $(ldd "$file" 2>/dev/null | grep -oE '/[^ :]+' || true); do copy "$(realpath -s "$library")"; done
}

mkdir -p "$root"/{etc,proc,sys,dev,run,var/run,root,usr/bin,usr/sbin,usr/lib}
mkdir -m 1777 "$root/tmp"
# merged /usr, as in Debian
for folder in bin sbin lib lib64; do
  if [[ -L /$folder ]]; then
    mkdir -p "$root/$(readlink "/$folder")"
    cp -a "/$folder" "$root/$folder"
  fi
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"

for family in iptables ip6tables; do
  for program in "$family" "$family-save" "$family-restore"; do copy "/usr/sbin/$program"; done
done
copy /usr/sbin/nft
copy /usr/sbin/conntrack
xtables=$(echo /usr/lib/*/xtables)
for extension in "$xtables"/*.so; do copy "$extension"; done
cp -a /etc/protocols "$root/etc/" 2>/dev/null || true

copy /usr/bin/busybox
for applet in $(busybox --list); do
  [[ -e $root/usr/bin/$applet || -e $root/usr/sbin/$applet ]] || ln -s busybox "$root/usr/bin/$applet"
done

chroot "$root" iptables --version
chroot "$root" nft --version
chroot "$root" conntrack --version
chroot "$root" sh -c 'mkdir /tmp/x && rm -rf /tmp/x'
