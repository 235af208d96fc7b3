#!/usr/bin/env bash
# Metrics: off by default; on by the environment, on loopback alone, with what the tags tell of updates and backups.
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

metrics() { guest curl -s --max-time 20 http://127.0.0.1:9100/metrics; }
metric_is() { [ "$(metrics | awk -v name="appliance_$1" '$1 == name {printf "%d", $2}')" = "$2" ]; }
nobody_listens() { [ -z "$(guest ss -Hltn 'sport = :9100')" ]; }
loopback_alone() { [ "$(guest ss -Hltn 'sport = :9100' | awk '{print $4}')" = 127.0.0.1:9100 ]; }
not_from_outside() { ! curl -s --max-time 3 -o /dev/null "http://$guest4:9100/"; }
off() { nobody_listens && unit_is prometheus-node-exporter inactive && unit_is appliance-metric.timer inactive; }
apply() { guest salt-call --local --retcode-passthrough --log-level=error state.sls appliance.metric; }

keep_environment
guest sh -c 'cp -a /data/etc/tags /run/tags.kept'
environment '{}'
guest env-update.sh >/dev/null
check 'the state applies' apply
check 'nothing listens unless the environment asks for it' off

guest sed -i 's/^    exporter: false/    exporter: true/' /app/env.yml
guest env-update.sh >/dev/null
check 'the state applies with the exporter on' apply
wait_for 30 'the exporter answers on loopback' metrics
check 'and listens there alone' loopback_alone
check 'nobody gets it from outside' not_from_outside
wait_for 30 'it tells of the machine' eval 'metrics | grep -q ^node_memory_MemTotal_bytes'
now=$(guest date +%s)
guest sh -c "cd /app/etc/tags; rm -f last_*update last_*backup; date -u -d @$((now - 100)) '+%Y-%m-%dT%H:%M:%SZ image' >last_update; date -u -d @$((now - 50)) +%Y-%m-%dT%H:%M:%SZ\ no >last_failed_backup; rm -f /run/appliance-failed; systemctl start appliance-metric"
check 'when the last update was' metric_is last_update_timestamp_seconds $((now - 100))
check 'that it did not fail' metric_is last_update_failed 0
check 'that there was no backup' metric_is last_backup_timestamp_seconds 0
check 'that the last backup failed' metric_is last_backup_failed 1
check 'and when' metric_is last_failed_backup_timestamp_seconds $((now - 50))
check 'that the appliance has not failed' metric_is failed 0
guest sh -c 'echo test >/run/appliance-failed; systemctl start appliance-metric'
check 'that it has' metric_is failed 1

guest sed -i 's/^    exporter: true/    exporter: false/' /app/env.yml
guest env-update.sh >/dev/null
check 'the state applies with the exporter off' apply
check 'nothing listens any more' off

persistent() { guest sh -c '[ -d /var/log/journal ] && ls /var/log/journal/*/system.journal && grep -q ^SystemMaxUse= /etc/systemd/journald.conf.d/appliance.conf'; }
check 'the journal is kept on disk, and bounded' persistent
guest sh -c 'rm -rf /data/etc/tags && mv /run/tags.kept /data/etc/tags'
environment_back
finish_checks
