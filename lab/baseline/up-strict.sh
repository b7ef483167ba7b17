#!/usr/bin/env bash
# The same lab as wplab's, as people write it down first: one step after another, each waited for.
set -euo pipefail
cd "$(dirname "$0")"; . ./lib.sh; . ./smoke.sh

create
kubectl wait --for=condition=Ready nodes --all --timeout=5m

for image in "${IMAGES[@]}"; do kind load docker-image "$image" --name "$NAME"; done

kubectl apply -f manifests/00-namespace.yaml
manifests manifests/10-nfs.yaml | kubectl apply -f -
kubectl -n $NS rollout status statefulset/nfs --timeout=5m

manifests manifests/20-mysql.yaml | kubectl apply -f -
kubectl -n $NS rollout status statefulset/mysql --timeout=10m

manifests manifests/30-wordpress.yaml | kubectl apply -f -
kubectl -n $NS wait --for=condition=Complete job/wordpress-install --timeout=5m
kubectl -n $NS rollout status deployment/wordpress --timeout=5m

manifests manifests/40-metrics-server.yaml | kubectl apply -f -
kubectl -n kube-system rollout status deployment/metrics-server --timeout=5m
kubectl wait --for=condition=Available apiservice/v1beta1.metrics.k8s.io --timeout=5m
kubectl apply -f manifests/50-hpa.yaml

until site_answers; do sleep 1; done
until hpa_has_value; do sleep 1; done
smoke
