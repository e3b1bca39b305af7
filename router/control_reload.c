/* "reload": handed to the main thread, which answers when it is done. */
#include "router/control_command.h"
#include "router/reload.h"

void control_reload(struct control_call *call)
{
    reloader_ask(call->services->reloader, call);
}
