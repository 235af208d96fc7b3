#!/bin/sh
# Makes the ssh host keys that sshd is told to use, where they are missing. An image carries none: each machine has its own.
set -eu
umask 077

for type in ed25519 ecdsa; do
  key=/etc/ssh/ssh_host_${type}_key
  # an empty file is what a power cut leaves
  [ -s "$key" ] && [ -s "$key.pub" ] && continue
  rm -f "$key" "$key.pub"
  ssh-keygen -q -t "$type" -N '' -C '' -f "$key"
  chmod 0644 "$key.pub"
  echo "made $key"
done
sync
