# What both scripts share. Needs docker, kind, kubectl and curl in PATH.
# NODE_IMAGE, NFS_IMAGE, MYSQL_IMAGE, WORDPRESS_IMAGE and METRICS_IMAGE name images that Docker has.
: "${NODE_IMAGE:?}" "${NFS_IMAGE:?}" "${MYSQL_IMAGE:?}" "${WORDPRESS_IMAGE:?}" "${METRICS_IMAGE:?}"
NAME=${NAME:-baseline} PORT=${PORT:-8080} NS=wordpress TITLE=wplab SITE=http://127.0.0.1:$PORT
IMAGES=("$NFS_IMAGE" "$MYSQL_IMAGE" "$WORDPRESS_IMAGE" "$METRICS_IMAGE")
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
export KUBECONFIG=${KUBECONFIG:-$WORK/kubeconfig}

create() { sed "s/hostPort: 8080/hostPort: $PORT/" kind.yaml | kind create cluster --name "$NAME" --image "$NODE_IMAGE" --config - --wait 5m; }
# The manifests with the images and the port filled in.
manifests() {
  sed -s "\$a---" "$@" | sed -e "s|image: nfs\$|image: $NFS_IMAGE|" -e "s|image: mysql\$|image: $MYSQL_IMAGE|" \
    -e "s|image: wordpress\$|image: $WORDPRESS_IMAGE|" -e "s|image: metrics-server\$|image: $METRICS_IMAGE|" -e "s|127.0.0.1:8080|127.0.0.1:$PORT|"
}
site_answers() { [ "$(curl -s -m 10 -o "$WORK/front.html" -w '%{http_code}' "$SITE/")" = 200 ] && grep -q "<title>$TITLE" "$WORK/front.html"; }
hpa_has_value() { [ -n "$(kubectl -n $NS get hpa wordpress -o jsonpath='{.status.currentMetrics[0].resource.current.averageUtilization}' 2>/dev/null)" ]; }
