# What `wplab smoke` proves, as far as a script does: log in, publish, upload, read back at every replica and every member.
smoke() {
  local jar=$WORK/jar nonce post media url pod
  curl -fsS -m 20 -c "$jar" -o /dev/null "$SITE/wp-login.php"
  curl -fsS -m 20 -b "$jar" -c "$jar" -o /dev/null --data-urlencode log=admin --data-urlencode pwd=adminpw -d testcookie=1 "$SITE/wp-login.php"
  nonce=$(curl -fsS -m 20 -b "$jar" "$SITE/wp-admin/admin-ajax.php?action=rest-nonce")
  post=$(curl -fsS -m 20 -b "$jar" -H "X-WP-Nonce: $nonce" -d title=smoke -d content=marker-of-the-smoke-test -d status=publish "$SITE/?rest_route=/wp/v2/posts")
  [[ $post =~ \"id\":([0-9]+) ]]; post=${BASH_REMATCH[1]}
  base64 -d > "$WORK/smoke.png" <<< 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=='
  media=$(curl -fsS -m 20 -b "$jar" -H "X-WP-Nonce: $nonce" -H 'Content-Type: image/png' -H 'Content-Disposition: attachment; filename=smoke.png' --data-binary "@$WORK/smoke.png" "$SITE/?rest_route=/wp/v2/media")
  [[ $media =~ \"source_url\":\"([^\"]+)\" ]]; url=${BASH_REMATCH[1]//\\/}
  [[ $media =~ \"id\":([0-9]+) ]]; media=${BASH_REMATCH[1]}
  curl -fsS -m 20 "$url" | cmp - "$WORK/smoke.png"
  curl -fsS -m 20 "$SITE/?p=$post" | grep marker-of-the-smoke-test > /dev/null
  for pod in $(kubectl -n $NS get pods -l app=wordpress -o name); do
    kubectl -n $NS exec "$pod" -- php -r "
      \$get = fn(\$path) => file_get_contents('http://127.0.0.1' . \$path, false, stream_context_create(['http' => ['header' => 'Host: 127.0.0.1:$PORT']]));
      exit(str_contains(\$get('/?p=$post'), 'marker-of-the-smoke-test') && strlen(\$get('/${url#"$SITE/"}')) === $(stat -c %s "$WORK/smoke.png") ? 0 : 1);"
  done
  for pod in mysql-0 mysql-1 mysql-2; do
    kubectl -n $NS exec "$pod" -- bash -c 'for _ in $(seq 50); do [ "$(MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql -uroot -S /run/mysqld/mysqld.sock -NB -e "select count(*) from wordpress.wp_posts where ID='"$post"'")" = 1 ] && exit 0; sleep 0.2; done; exit 1'
  done
  curl -fsS -m 20 -o /dev/null -b "$jar" -H "X-WP-Nonce: $nonce" -X DELETE "$SITE/?rest_route=/wp/v2/posts/$post&force=true"
  curl -fsS -m 20 -o /dev/null -b "$jar" -H "X-WP-Nonce: $nonce" -X DELETE "$SITE/?rest_route=/wp/v2/media/$media&force=true"
}
