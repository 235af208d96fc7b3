/etc/kiln-e2e:
  file.managed:
    - contents: applied by a state
