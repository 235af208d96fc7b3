# Names are resolved by DNS alone: systemd-resolved neither answers neighbours (LLMNR, multicast DNS) nor asks them.
{%- from 'common/map.jinja' import map %}
{%- if map.resolver.resolved %}
/etc/systemd/resolved.conf.d/appliance.conf:
  file.managed:
    - makedirs: true
    - contents: |
        # Managed by Salt: common.resolver
        [Resolve]
        LLMNR=no
        MulticastDNS=no

systemd-resolved:
  service.running:
    - enable: true
    - watch:
      - file: /etc/systemd/resolved.conf.d/appliance.conf
{%- endif %}
