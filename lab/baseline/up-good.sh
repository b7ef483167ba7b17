#!/usr/bin/env bash
# The same lab as wplab's, as somebody writes it who has waited often: all images in one archive that is saved beside
# `kind create`, everything applied at once, waits side by side.
set -euo pipefail
cd "$(dirname "$0")"; . ./lib.sh; . ./smoke.sh

docker save -o "$WORK/images.tar" "${IMAGES[@]}" & save=$!
create
wait $save
kind load image-archive "$WORK/images.tar" --name "$NAME"

manifests manifests/*.yaml | kubectl apply -f -
waits=()
kubectl wait --for=condition=Ready nodes --all --timeout=5m & waits+=($!)
kubectl -n $NS rollout status statefulset/mysql --timeout=10m & waits+=($!)
kubectl -n $NS wait --for=condition=Complete job/wordpress-install --timeout=10m & waits+=($!)
kubectl -n $NS rollout status deployment/wordpress --timeout=10m & waits+=($!)
kubectl -n kube-system rollout status deployment/metrics-server --timeout=5m & waits+=($!)
(until site_answers; do sleep 1; done) & waits+=($!)
(until hpa_has_value; do sleep 1; done) & waits+=($!)
for one in "${waits[@]}"; do wait "$one"; done
smoke
