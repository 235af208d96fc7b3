# A line on the console first, so that a test knows when it hangs.
this hangs:
  cmd.run:
    - name: echo '<1>kiln-e2e hangs here' >/dev/kmsg; sleep infinity
