/* What the configuration's tls.report section means. Pure; part of loading the configuration. */
#ifndef SLUICE_ROUTER_CONFIG_REPORT_H
#define SLUICE_ROUTER_CONFIG_REPORT_H

#include "router/config.h"
#include "router/tls_report.h"

/* Brings the tls.report section into its form: addresses as SMTP has them, via as A-labels. NULL,
 * or
 * "..., expected ..." with the option's name in *out_option. After
 * config_destinations_resolve(). */
const char *config_report_settle(struct config *config, const char **out_option);
/* Who reports; borrows from config. */
struct tls_report_sender config_report_sender(const struct config *config);

#endif
