#!/bin/sh
# Removes what the packages bring and the lab never runs: table tools of old
# storage engines, load generators, other ways to copy a member, and Perl for
# their scripts. Every database node loads this image.
set -eu

keep=' mariadbd mariadb mariadb-admin mariadb-dump mariadb-install-db mariadb-backup mariabackup mbstream
 my_print_defaults resolveip wsrep_sst_common wsrep_sst_mariabackup '
keep=$(echo $keep)
for file in $(dpkg -L mariadb-server mariadb-server-core mariadb-client mariadb-client-core mariadb-backup galera-4 |
    grep -E '^/usr/s?bin/.'); do
  case " $keep " in
    *" ${file##*/} "*) ;;
    *) rm -f "$file" ;;
  esac
done
# engines and audits that nothing here turns on
cd /usr/lib/mysql/plugin
rm -rf auth_pam* ha_* handlersocket.so server_audit.so query_* sql_errlog.so metadata_lock_info.so disks.so locales.so
dpkg --purge --force-depends $(dpkg-query -Wf '${db:Status-Abbrev} ${Package}\n' 'perl' 'perl-modules-*' 'libperl5*' \
  'libdbi-perl' 'libdbd-mariadb-perl' 'libconfig-inifiles-perl' 'libterm-readkey-perl' rsync 2>/dev/null | sed -n 's/^ii *//p')
rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /usr/share/info/* /usr/share/perl* /usr/lib/*/perl*
