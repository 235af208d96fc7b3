#!/usr/bin/env bash
# The docker engine and docker compose: places, limits of logs, containers apart from each other unless they are linked, a
# restart that loses no request, one compose of version 2.
# Needs python3 on the host.
# shellcheck source=machine.inc
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=containers.inc
. "$here/containers.inc"

is() { [ "$1" = "$2" ] || { printf 'is:     %s\nshould: %s\n' "$1" "$2"; return 1; }; }
fails() { if "$@"; then echo 'it did not fail'; return 1; fi; }
info() { guest docker info --format "$1"; }
share=/usr/local/share/appliance

check 'data is in /volatile/docker' is "$(info '{{.DockerRootDir}}')" /volatile/docker
check "containerd's too" guest sh -c "containerd config dump | grep -x 'root = \"/volatile/docker/containerd\"' && test -d /volatile/docker/containerd/io.containerd.metadata.v1.bolt"
check '/var/lib/docker leads there' is "$(guest readlink -f /var/lib/docker)" /volatile/docker
check '/var/lib/containerd too' is "$(guest readlink -f /var/lib/containerd)" /volatile/docker/containerd
check 'live-restore is on' is "$(info '{{.LiveRestoreEnabled}}')" true
check 'the driver is overlay2' is "$(info '{{.Driver}}')" overlay2
check 'the bridge has 172.17.0.1/16' guest sh -c "ip -4 -o address show dev docker0 | grep -w 172.17.0.1/16"
check 'dockerd has the same network' is "$(guest docker network inspect bridge --format '{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}')" '172.17.0.0/16 172.17.0.1'
check 'no network but the three of docker' is "$(guest docker network ls --format '{{.Name}}' | sort | xargs)" 'bridge host none'

check 'compose is a plugin, of version 2' guest sh -c "docker compose version --short | grep '^2\\.'"
check 'compose is a program, of version 2' guest sh -c "docker-compose version --short | grep '^2\\.'"
check 'both are one file' is "$(guest readlink -f /usr/local/bin/docker-compose)" /usr/local/lib/docker/cli-plugins/docker-compose
check 'that which the lock names' guest sh -c ". $share/compose.lock; echo \"\$compose_program_sha256  /usr/local/bin/docker-compose\" | sha256sum --check --status"
check 'docker knows one compose' is "$(guest sh -c 'ls /usr/lib/docker/cli-plugins /usr/libexec/docker/cli-plugins /usr/local/libexec/docker/cli-plugins 2>/dev/null | grep -c compose')" 0
check 'version 1 is not installed' fails guest sh -c "dpkg-query -W -f '\${db:Status-Abbrev}\\n' docker-compose 2>/dev/null | grep ^i || test -e /usr/bin/docker-compose"

make_image curl
# containers apart: a server, and others that ask it
guest docker run -d --name kiln-server --network bridge --expose 8000 --expose 8002 "$container_image" httpd -f -p 8000 -h /www >/dev/null
address=$(guest docker inspect kiln-server --format '{{.NetworkSettings.IPAddress}}')
cleanup() {
  guest docker rm --force kiln-client kiln-server kiln-web kiln-log kiln-first kiln-taker >/dev/null 2>&1
  remove_image
}
at_end=cleanup
wait_for 30 'the machine reaches a container' guest curl -sSf -o /dev/null --max-time 5 "http://$address:8000/"
times_out() { # COMMAND...: curl's own status
  local status=0
  "$@" || status=$?
  is "$status" 28
}
check 'another container does not' times_out contained curl -sS --max-time 5 "http://$address:8000/"
# a link opens the ports that the other one exposes, and these alone
check 'a linked container does' guest docker run --rm --link kiln-server:server "$container_image" curl -sS --max-time 10 http://server:8000/
guest docker exec --detach kiln-server httpd -f -p 8001 -h /www
check 'but not to a port that is not exposed' times_out guest docker run --rm --link kiln-server:server "$container_image" curl -sS --max-time 5 http://server:8001/
guest sh -c 'cat >/var/tmp/kiln-compose.yml' <<END
services:
  ask:
    image: "$container_image"
    network_mode: bridge
    external_links: ["kiln-server:server"]
    command: curl -sS --max-time 10 http://server:8000/
END
check 'a container of compose that is linked does' test \
  "$(guest docker compose --project-name kilntest --file /var/tmp/kiln-compose.yml run --rm ask 2>"$work/compose")" = hello
guest rm /var/tmp/kiln-compose.yml
check 'compose left no network' is "$(guest docker network ls --format '{{.Name}}' | sort | xargs)" 'bridge host none'

# links follow their containers: one that comes back with another address is found by who is linked to it, one that took an
# address over gets nothing of what was linked there
guest docker run -d --name kiln-client --read-only --link kiln-server:server "$container_image" sleep 3600 >/dev/null
asks() { guest docker exec "$1" curl -sS --max-time 5 "http://$2:8000/"; }
address_of() { guest docker inspect "$1" --format '{{.NetworkSettings.IPAddress}}'; }
moves() { # NAME TAKER: stopped, its address is taken, started
  local before
  before=$(address_of "$1")
  guest docker stop --time 0 "$1" >/dev/null
  guest docker run -d --name "$2" --network bridge "$container_image" sleep 3600 >/dev/null
  guest docker start "$1" >/dev/null
  is "$(address_of "$2")" "$before" && [ "$(address_of "$1")" != "$before" ]
}
check 'a server comes back with another address' moves kiln-server kiln-first
wait_for 20 'who is linked to it reaches it' asks kiln-client server
check 'a client comes back with another address' moves kiln-client kiln-taker
wait_for 20 'it reaches what it is linked to' asks kiln-client server
lost() { ! asks kiln-taker "$(address_of kiln-server)"; }
wait_for 20 'who took its address does not' lost
rules() { guest iptables -S DOCKER | grep -c -- '-i docker0 -o docker0'; }
four() { is "$(rules)" 4; } # two ports, there and back
wait_for 20 'no way is left of those that were' four
# from a port that is linked to, where the server could stop to listen
guest docker exec kiln-client sh -c 'httpd -p 9000 -h /www'
back() { guest docker exec "$1" curl -sS --max-time 5 --local-port 8002 "http://$(address_of kiln-client):9000/"; }
check 'the way back of a link is none for connections of its own' times_out back kiln-server
guest docker rm --force kiln-first kiln-taker kiln-client >/dev/null

# logs end
guest docker run --name kiln-log --network none "$container_image" sh -c "head -c 80000000 /dev/zero | tr '\\0' x | fold -w 9999" >/dev/null
size=$(guest du -sm "/volatile/docker/containers/$(guest docker inspect kiln-log --format '{{.Id}}')" | cut -f 1)
check "80 MB of output take no more than 5 files of 10 MB ($size MB)" test "$size" -le 55 -a "$size" -ge 30

# a restart of dockerd under load
guest docker run -d --name kiln-client --link kiln-server:server "$container_image" sleep 3600 >/dev/null
guest docker run -d --name kiln-web --network bridge -p 127.0.0.1:5000:8000 "$container_image" httpd -f -p 8000 -h /www >/dev/null
wait_for 60 'nginx proxies to the container' bash -c "[ \"\$(curl -sk -o /dev/null -w '%{http_code}' https://$guest4/)\" = 200 ]"
# dockerd lets what comes by docker0 go to loopback, for its own sake: a container that has a way to send it there
neighbour() {
  guest docker run --rm --network bridge --cap-add NET_ADMIN --sysctl net.ipv4.conf.all.route_localnet=1 "$container_image" sh -c '
    ip address del 127.0.0.1/8 dev lo && ip route add 127.0.0.1/32 via 172.17.0.1 dev eth0 && curl -sS --max-time 5 http://127.0.0.1:80/'
}
check "no container comes to what the machine has on its loopback" times_out neighbour
# as many requests as are told at least, and on until the file is there
cat >"$work/load.py" <<'END'
import collections, http.client, itertools, os, ssl, sys, threading
host, least, done = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
turns, answers, lock = itertools.count(), collections.Counter(), threading.Lock()
def ask():
    while next(turns) < least or not os.path.exists(done):
        try:
            connection = http.client.HTTPSConnection(host, context=context, timeout=60)
            connection.request('GET', '/')
            answer = connection.getresponse()
            answer.read()
            said = str(answer.status)
            connection.close()
        except Exception as error:
            said = repr(error)
        with lock:
            answers[said] += 1
            print(sum(answers.values()), flush=True)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*('%s x %s' % pair for pair in answers.items()), file=sys.stderr)
sys.exit(set(answers) != {'200'} or answers['200'] < least)
END
first=$(guest systemctl show --property MainPID --value docker)
python3 "$work/load.py" "$guest4" 1000 "$work/done" >"$work/asked" 2>"$work/answers" &
load=$!
asked() { [ "$(wc -l <"$work/asked")" -ge "$1" ]; }
wait_for 120 'https requests are answered' asked 200
guest systemctl restart docker
wait_for 120 'and after a restart of docker' asked $(($(wc -l <"$work/asked") + 200))
touch "$work/done"
status=0
wait $load || status=$?
check "of 1,000 or more no request is lost: $(cat "$work/answers")" test $status = 0
check 'dockerd is another one' test "$first" != "$(guest systemctl show --property MainPID --value docker)"
check 'the container is the same' is "$(guest docker inspect kiln-web --format '{{.State.Running}} {{.RestartCount}}')" 'true 0'
check 'a link passes as before' guest docker exec kiln-client curl -sS --max-time 10 http://server:8000/
check 'and nothing else does' times_out guest docker exec kiln-client curl -sS --max-time 5 http://server:8001/
check 'new connections are held no more' fails guest nft list table ip ecs-docker-start
check 'a service without its container is answered at once' \
  bash -c "[ \"\$(curl -sk -o /dev/null -w '%{http_code}' --max-time 4 https://$guest4/bkuonline/)\" = 503 ]"

# an empty /volatile
guest docker rm --force kiln-client kiln-server kiln-web kiln-log >/dev/null
guest sh -c 'systemctl stop docker.socket docker containerd && mv /volatile/docker /volatile/docker.kept && systemctl reset-failed docker && systemctl start docker.socket docker'
check 'docker starts on an empty /volatile' is "$(info '{{.DockerRootDir}} {{.Images}}')" '/volatile/docker 0'
check 'with the same bridge' guest sh -c "ip -4 -o address show dev docker0 | grep -w 172.17.0.1/16"
guest sh -c 'systemctl stop docker.socket docker containerd && rm -rf /volatile/docker && mv /volatile/docker.kept /volatile/docker && systemctl reset-failed docker && systemctl start docker.socket docker'
check 'and on the one of before' guest docker image inspect "$container_image"
finish_checks
