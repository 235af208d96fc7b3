/etc/kiln-e2e:
  file.managed:
    - contents: applied by a state

this breaks:
  cmd.run:
    - name: echo the reason why >&2; exit 3
