#!/bin/sh
# What the tags tell of the appliance, as a file that the node exporter reads.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
folder=/run/appliance-metric

# metric NAME HELP VALUE
metric() { printf '# HELP appliance_%s %s\n# TYPE appliance_%s gauge\nappliance_%s %s\n' "$1" "$2" "$1" "$1" "$3"; }
there() { if [ -e "$1" ]; then echo 1; else echo 0; fi; }
# seconds of the epoch when the tag was written, 0 without one: its text begins with the time
written() {
  text=$(tagged "$1")
  date -u -d "${text%% *}" +%s 2>/dev/null || echo 0
}
written_or_none() { if [ -n "$(tagged "$1")" ]; then written "$1"; else echo 0; fi; }
running() { if systemctl -q is-active appliance.service; then echo 1; else echo 0; fi; }

install -d -m 0755 "$folder"
{
  metric running 'Whether the containers of the application run.' "$(running)"
  metric failed 'Whether the appliance has failed, and nothing is started until somebody mends it.' "$(there "$failed_flag")"
  metric standby 'Whether the appliance is on standby.' "$(there "$standby_flag")"
  for deed in update backup; do
    metric "last_${deed}_timestamp_seconds" "When the last $deed that went well ended, 0 for never." "$(written_or_none "last_$deed")"
    metric "last_${deed}_failed" "Whether the last $deed failed." "$(there "$etc/tags/last_failed_$deed")"
    metric "last_failed_${deed}_timestamp_seconds" "When the last $deed failed, 0 when it did not." "$(written_or_none "last_failed_$deed")"
  done
  metric ecs_build_failed 'Whether the last build or migration of the application failed.' "$(there "$etc/tags/last_failed_ecs")"
  metric reboot_required 'Whether new packages ask for a reboot.' "$(there /run/reboot-required)"
} >"$folder/.new"
mv "$folder/.new" "$folder/appliance.prom"
