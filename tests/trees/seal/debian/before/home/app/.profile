home/app/.profile
