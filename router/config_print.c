/* Writes the effective configuration in the syntax that config_parse() reads.
 * It does not say where a value came from. */
#include "router/config_destinations.h"

static void print_servers(const struct config *config, struct buffer *out)
{
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < config->dns.num_servers; i++) {
        buffer_append_str(out, i ? ", " : "");
        config_quote(config->dns.servers[i], out);
    }
    buffer_append_byte(out, '}');
}

void config_print_option(const struct config *config, const struct config_option *option,
                         struct buffer *out)
{
    if (option->type == OPTION_SERVERS)
        print_servers(config, out);
    else
        config_option_print(option, config, out);
}

static size_t depth_of(const char *section)
{
    if (!*section)
        return 0;
    return strchr(section, '.') ? 2 : 1;
}

/* Closes what `from` has open beyond what it shares with `to`, and opens the rest of `to`. */
static void change_section(const char *from, const char *to, struct buffer *out)
{
    size_t outer_from = strcspn(from, "."), outer_to = strcspn(to, ".");
    bool shares = outer_to > 0 && outer_from == outer_to && strncmp(from, to, outer_to) == 0;
    if (from[outer_from])
        buffer_append_str(out, "    }\n");
    if (*from && !shares)
        buffer_append_str(out, "}\n");
    if (*to && !shares)
        buffer_printf(out, "\n%.*s {\n", (int)outer_to, to);
    if (to[outer_to])
        buffer_printf(out, "    %s {\n", to + outer_to + 1);
}

void config_print(const struct config *config, struct buffer *out)
{
    const char *section = "";
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        if (config_option_is_destination(option))
            continue;
        if (strcmp(option->section, section) != 0)
            change_section(section, option->section, out);
        section = option->section;
        buffer_printf(out, "%*s%s = ", (int)(4 * depth_of(section)), "", option->name);
        config_print_option(config, option, out);
        buffer_append_byte(out, '\n');
    }
    change_section(section, "", out);
    config_destinations_print(config->destinations, out);
}
