var/lib/cloud/scripts/per-boot/run.sh
