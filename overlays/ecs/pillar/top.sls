# The environment is this machine's alone, or the fallback's alone: a default that shines through a real environment would be a
# setting nobody wrote.
base:
  '*':
{%- if salt['file.file_exists']('/run/active-env.yml') %}
    - active-env
{%- else %}
    - default-env
{%- endif %}
