/* The system's own name, for where the configuration gives none. */
#ifndef SLUICE_ROUTER_CONFIG_HOSTNAME_H
#define SLUICE_ROUTER_CONFIG_HOSTNAME_H

/* Fully qualified where the system knows such a name, in A-labels and lower case; static. May ask
 * the DNS and wait for it the first time, so call it at start-up. Any thread. */
const char *config_system_hostname(void);

#endif
