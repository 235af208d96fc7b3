#!/usr/bin/env bash
# shellcheck disable=SC2016 # what is quoted is for the guest's shell
# ssh: keys only; the environment's ssh_authorized_keys come in as root and as app, its ssh_deprecated_keys are taken away from
# everybody, keys that others put there stay, a key in both lists is out, disable_root keeps root out.
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"

leave() {
  guest sh -c 'rm -f /app/env.yml
    if [ -e /run/test-before.yml ]; then mv /run/test-before.yml /run/active-env.yml; else rm -f /run/active-env.yml; fi
    rm -rf /app/.ssh /root/.ssh/authorized_keys
    if [ -e /run/test-keys.app ]; then mv /run/test-keys.app /app/.ssh; fi
    if [ -e /run/test-keys.root ]; then mv /run/test-keys.root /root/.ssh/authorized_keys; fi
    salt-call --local --log-level=quiet state.sls appliance.openssh' >"$work/leave" 2>&1 || cat "$work/leave"
}
at_end=leave

for name in given old both other; do ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$work/$name"; done
public() { cut -d ' ' -f 1,2 "$work/$1.pub"; }
login() { # KEY USER [MORE]
  timeout 60 ssh -F /dev/null -i "$work/$1" -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    "${@:3}" "$2@$guest4" id -un </dev/null | grep -qx "$2"
}
refused() { ! login "$@"; }
apply() { # DISABLE_ROOT: an environment, and the state
  cat >"$work/env.yml" <<END
#cloud-config
ssh_authorized_keys: ["$(cat "$work/given.pub")", "$(cat "$work/both.pub")"]
ssh_deprecated_keys: ["$(public old) of somebody who left", "ssh-ed25519 AAAAnokey", "$(public both)"]
disable_root: $1
appliance: {standby: true, domain: ssh.example.org}
END
  put "$work/env.yml" /app/env.yml 0600
  guest sh -c 'env-update.sh >/dev/null && salt-call --local --retcode-passthrough state.sls appliance.openssh'
}

# what was there before: keys that cloud-init or a person put there, also with options
guest sh -c '[ ! -e /run/active-env.yml ] || cp -p /run/active-env.yml /run/test-before.yml
  [ ! -e /app/.ssh ] || mv /app/.ssh /run/test-keys.app
  [ ! -e /root/.ssh/authorized_keys ] || mv /root/.ssh/authorized_keys /run/test-keys.root
  install -d -m 0700 /root/.ssh; install -d -m 0700 -o app -g app /app/.ssh'
for name in old other; do cat "$work/$name.pub"; done >"$work/before"
put "$work/before" /root/.ssh/authorized_keys 0600
echo "no-pty,environment=\"A=b c\" $(public old) again" >>"$work/before"
put "$work/before" /app/.ssh/authorized_keys 0644

check "a key that is there already works" login old root
check "a key that nobody gave does not" refused given root
check "the state takes the environment" apply false
check "and has nothing to do the second time" guest sh -c 'salt-call --local --retcode-passthrough state.sls appliance.openssh | tail -n 6 | grep Succeeded | grep -v changed='
for user in root app; do
  check "$user: an authorized key comes in" login given $user
  check "$user: a deprecated key does not" refused old $user
  check "$user: nor one in both lists" refused both $user
  check "$user: what somebody else put there stays" login other $user
done
check "the deprecated key is in no list of the appliance's, with and without options" guest sh -c '! grep -F "'"$(public old | cut -d ' ' -f 2)"'" /etc/ssh/authorized_keys.d/*'

keys_only() { # what sshd offers
  timeout 60 ssh -F /dev/null -o PreferredAuthentications=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$1@$guest4" true </dev/null >"$work/offer" 2>&1 || true
  grep -F 'Permission denied (publickey).' "$work/offer"
}
check "passwords are not even asked for: root" keys_only root
check "passwords are not even asked for: app" keys_only app

check "disable_root is taken" apply true
check "root is out with the environment's key" refused given root
check "and with any other" refused other root
check "app comes in" login given app
check "disable_root is taken back" apply false
check "root comes in again" login given root

finish_checks
