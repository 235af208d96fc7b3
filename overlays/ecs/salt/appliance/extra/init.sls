# What an environment brings of its own: `appliance.extra.packages`, `.files`, `.states`. The last are Salt states as text, one or a
# list; they are read as YAML and never as a template.
{%- set extra = salt['pillar.get']('appliance:extra') or {} %}
{%- set states = extra.get('states') or [] %}
include:
  - common.packages
{%- if extra.get('packages') %}

extra-packages:
  pkg.installed:
    - pkgs: {{ extra.packages | json }}
    - install_recommends: false
    - require:
      - pkg: packages
{%- endif %}
{%- for file in extra.get('files') or [] %}
{%- set owner = (file.get('owner') or 'root').split(':') %}

{{ file.path | json }}:
  file.managed:
    - contents: {{ (file.get('content') or file.get('contents') or '') | json }}
    - contents_newline: false
    - user: {{ owner | first }}
    - group: {{ owner | last }}
    - mode: '{{ file.get('permissions') or '0644' }}'
    - makedirs: true
    - dir_mode: '0755'
    # it may hold a secret
    - show_changes: false
{%- endfor %}
{%- for text in ([states] if states is string else states) %}

{{ text }}
{%- endfor %}
