#!/bin/sh
# Makes the secrets of Redis in a new folder: a password for each user of users.acl, the access list with their SHA-256,
# an authority and a certificate for TLS; the secret that signs callbacks, and the one that triggers of the PACS bring.
#
#   docker/redis/make_secrets.sh FOLDER [NAME]...     NAME: a further host name of Redis, besides `redis` and localhost
#
# Run again with the same folder, it makes what is missing: after `rm FOLDER/redis.crt` a new certificate, after
# `rm FOLDER/api.password` a new password (start Redis and that service again).
set -eu
here=$(dirname "$0")
folder=${1:?names the folder of the secrets}
shift
umask 077
mkdir -p "$folder"

names="DNS:redis,DNS:localhost,IP:127.0.0.1"
for name in "$@"; do names="$names,DNS:$name"; done

[ -e "$folder/ca.crt" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
  -subj "/CN=certrad Redis authority" -addext "keyUsage=critical,keyCertSign" -keyout "$folder/ca.key" -out "$folder/ca.crt" 2>/dev/null
if ! [ -e "$folder/redis.crt" ]; then
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=redis" \
    -keyout "$folder/redis.key" -out "$folder/redis.csr" 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\nauthorityKeyIdentifier=keyid\n' "$names" >"$folder/redis.ext"
  openssl x509 -req -in "$folder/redis.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days 825 \
    -extfile "$folder/redis.ext" -out "$folder/redis.crt" 2>/dev/null
  rm "$folder/redis.csr" "$folder/redis.ext"
fi

while read -r line; do
  user=$(printf '%s' "$line" | cut -d' ' -f2)
  case "$line" in
    "user $user on nopass "* | "user $user off "*) printf '%s\n' "$line" ;;
    *)
      [ -e "$folder/$user.password" ] || openssl rand -hex 32 | tr -d '\n' >"$folder/$user.password"
      digest=$(openssl dgst -sha256 -r "$folder/$user.password" | cut -d' ' -f1)
      printf 'user %s on #%s %s\n' "$user" "$digest" "${line#user "$user" on }"
      ;;
  esac
done <"$here/users.acl" >"$folder/users.acl.new"
mv "$folder/users.acl.new" "$folder/users.acl"

[ -e "$folder/trigger.secret" ] || openssl rand -hex 32 | tr -d '\n' >"$folder/trigger.secret"
[ -e "$folder/callback.secret" ] || printf 'whsec_%s' "$(openssl rand -base64 32)" >"$folder/callback.secret"

# Each container gets only its own of these files, under a user of its own; the folder keeps everybody else out.
chmod 444 "$folder"/*.password "$folder/callback.secret" "$folder/trigger.secret" "$folder/users.acl" "$folder/ca.crt" "$folder/redis.crt" "$folder/redis.key"
