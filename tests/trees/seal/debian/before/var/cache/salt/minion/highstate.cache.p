var/cache/salt/minion/highstate.cache.p
