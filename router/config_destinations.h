/* The `destination` sections: patterns, what each sets, and the settings that hold for a domain.
 *
 * Made while the configuration is loaded, immutable afterwards; then any thread. */
#ifndef SLUICE_ROUTER_CONFIG_DESTINATIONS_H
#define SLUICE_ROUTER_CONFIG_DESTINATIONS_H

#include "router/config_table.h"

struct config_destinations;
struct config_destination; /* one section */

struct config_destinations *config_destinations_new(void);
void config_destinations_free(struct config_destinations *destinations); /* NULL allowed */
/* A section with its title; NULL with "..., expected ..." in why: no pattern, or there already. */
struct config_destination *config_destinations_add(struct config_destinations *destinations,
                                                   const char *title, char why[CONFIG_EXPECTED_MAX])
    __attribute__((warn_unused_result));
/* option: a row of the table that belongs to destinations. */
bool config_destination_set(struct config_destination *destination,
                            const struct config_option *option, const char *text,
                            char why[CONFIG_EXPECTED_MAX]) __attribute__((warn_unused_result));
/* After the last section: overlays them over config's own values. */
void config_destinations_resolve(struct config_destinations *destinations,
                                 const struct config *config);
const struct destination_settings *
config_destinations_find(const struct config_destinations *destinations, const char *domain);
/* After a reload: settings that are equal to some of `old`, also by is_same(), get their id, all
 * others one that neither has had. Whether there are such others. */
bool config_destinations_follow(struct config_destinations *destinations,
                                const struct config_destinations *old,
                                bool (*is_same)(const void *ctx, const struct tls_settings *fresh,
                                                const struct tls_settings *old),
                                const void *ctx);
/* Whether any settings have that id. */
bool config_destinations_have(const struct config_destinations *destinations, unsigned id);
/* After config_destinations_resolve(): what is wrong with the i-th section as a whole; NULL. */
const char *config_destinations_problem(const struct config_destinations *destinations, size_t i);
/* At least 1: 0 is the identity of what no section changes. */
unsigned config_destinations_num_identities(const struct config_destinations *destinations);
const struct tls_settings *
config_destinations_identity(const struct config_destinations *destinations, unsigned identity);
/* Whether sessions to any destination are written down. */
bool config_destinations_transcribe(const struct config_destinations *destinations);
/* Each section with the options that it sets. */
void config_destinations_print(const struct config_destinations *destinations, struct buffer *out);

#endif
