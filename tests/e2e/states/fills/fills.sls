this fills the disk:
  cmd.run:
    - name: dd if=/dev/zero of=/var/tmp/fill bs=1M
