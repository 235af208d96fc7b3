base:
  '*':
    - fills
