/* From a request to its handler.
 * What commands do stands in their own files. */
#include "router/control_command.h"

#include <string.h>

static const struct {
    const char *name;
    void (*handle)(struct control_call *call);
} commands[] = {
    {"queue", control_queue},
    {"reload", control_reload},
    {"status", control_status},
    {"tls-cache", control_tls_cache},
};

void control_command_run(struct control_call *call)
{
    const char *name = json_string_value(json_object_get(call->request, "command"));
    for (size_t i = 0; name && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            commands[i].handle(call);
            return;
        }
    }
    control_refuse(call, "usage", name ? "no such command" : "no \"command\" in the request");
}
