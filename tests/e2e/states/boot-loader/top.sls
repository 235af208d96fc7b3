base:
  '*':
    - boot-loader
