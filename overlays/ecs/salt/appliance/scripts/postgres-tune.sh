#!/bin/sh
# Prints the settings of PostgreSQL that follow memory and cores. The machine is not the database's alone: an eighth of the
# memory is its own, all connections together may sort in another quarter, and half is likely to hold its files.
# usage: postgres-tune.sh VERSION [MIB CORES]; default: this machine
set -eu
version=${1%%.*}
mib=${2:-$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)}
cores=${3:-$(nproc)}

within() { # LEAST VALUE MOST
  if [ "$2" -lt "$1" ]; then echo "$1"; elif [ "$2" -gt "$3" ]; then echo "$3"; else echo "$2"; fi
}

connections=$(within 40 "$(within 1 $((40 + 10 * cores)) $((mib / 20)))" 200)
cat <<END
# $mib MiB, $cores cores; written at each boot by postgres-tune.sh
max_connections = $connections
shared_buffers = $(within 64 $((mib / 8)) 8192)MB
effective_cache_size = $((mib / 2))MB
work_mem = $(within 4 $((mib / 4 / connections)) 64)MB
maintenance_work_mem = $(within 32 $((mib / 32)) 1024)MB
max_worker_processes = $(within 8 "$cores" 64)
END
[ "$version" -ge 11 ] || exit 0
cat <<END
max_parallel_workers = $cores
max_parallel_workers_per_gather = $(within 0 $((cores / 2)) 4)
max_parallel_maintenance_workers = $(within 0 $((cores / 2)) 4)
END
