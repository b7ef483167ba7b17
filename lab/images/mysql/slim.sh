#!/bin/sh
# Removes what the packages bring and the lab never runs: table tools of old
# storage engines, load generators, and Perl for their scripts. Every database
# node loads this image, so half the size is half the time.
set -eu

keep=' mysqld mysql mysqladmin mysqldump mysqlbinlog mysql_config_editor my_print_defaults '
for file in $(dpkg -L mysql-server-core mysql-client-core | grep -E '^/usr/s?bin/.'); do
  case $keep in
    *" ${file##*/} "*) ;;
    *) rm -f "$file" ;;
  esac
done
# plugins for other clouds' and companies' ways to log in, and telemetry
plugins=/usr/lib/mysql/plugin
rm -f $plugins/*telemetry* $plugins/authentication_*_client.so $plugins/*group_replication*
dpkg --purge --force-depends $(dpkg-query -Wf '${Package}\n' 'perl' 'perl-modules-*' 'libperl5*')
rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /usr/share/info/*
