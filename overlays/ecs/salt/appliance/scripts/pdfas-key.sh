#!/bin/sh
# The key that pdfas signs PDFs with, its certificate, and the secret by which it knows the application: made once, on the
# machine, and never again. All three or none: what is incomplete was not left by this program, and only told. Run at each start.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
# shellcheck source=certificate.include
. "$share/certificate.include"
umask 077
folder=$etc/pdfas

# what is wrong with them, or nothing
fault() {
  for file in key.pem cert.pem secret; do
    [ -s "$folder/$file" ] || { echo "$file is missing"; return; }
  done
  pair_matches "$folder/key.pem" "$folder/cert.pem" || { echo 'key.pem and cert.pem do not belong together'; return; }
  grep -qxE '[0-9a-f]{64}' "$folder/secret" || echo 'secret is damaged'
}

if [ -z "$(ls -A "$folder" 2>/dev/null)" ]; then
  rm -rf "$folder.new"
  install -d -m 0700 "$folder.new"
  # PKCS #8
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$folder.new/key.pem" 2>/dev/null
  cat >"$folder.new/request.conf" <<END
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
[subject]
CN = ECS appliance PDF signature
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,nonRepudiation
subjectKeyIdentifier = hash
END
  openssl req -x509 -new -sha256 -days 3650 -config "$folder.new/request.conf" -key "$folder.new/key.pem" -out "$folder.new/cert.pem"
  rm "$folder.new/request.conf"
  openssl rand -hex 32 >"$folder.new/secret"
  # pdfas' number in its container
  chown -R 422:422 "$folder.new"
  sync
  # in one step, over the empty folder
  mv -T "$folder.new" "$folder"
  sync
  echo "made $folder"
fi

wrong=$(fault)
if [ -n "$wrong" ]; then
  echo "$folder: $wrong" >&2
  appliance-status --notice pdfas "The key that PDFs are signed with is not whole: $wrong in $folder. Bring it back from a backup, or empty the folder to have another one made at the next start."
else
  chown -R 422:422 "$folder"
  appliance-status --notice pdfas
fi
chmod 0700 "$folder"
printf 'PDFAS_SECRET=%s\n' "$(cat "$folder/secret" 2>/dev/null || true)" | write_private "$etc/pdfas_secret.env"
