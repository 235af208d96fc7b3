srv/salt/top.sls
