/* What the configuration's tls sections mean: the level behind what is written, names by
 * themselves, which sections share an identity. Pure; part of loading the configuration. */
#ifndef SLUICE_ROUTER_CONFIG_TLS_H
#define SLUICE_ROUTER_CONFIG_TLS_H

#include "router/config.h"

/* level = "wrapper" becomes encrypt with wrapper. */
void config_tls_settle(struct tls_settings *settings);
/* The names of settings->match as A-labels; *out_items is the caller's to free with
 * config_tls_free_names(). */
void config_tls_split_names(struct tls_settings *settings, char ***out_items);
void config_tls_free_names(char **items);
bool config_tls_same_identity(const struct tls_settings *a, const struct tls_settings *b);
bool config_tls_equal(const struct tls_settings *a, const struct tls_settings *b);

#endif
