/* The loaded message's life.
 * It does not read files: pickup does. */
#include "queue/message.h"

#include "base/memory.h"

uint32_t message_recipients_digest(const struct envelope *envelope)
{
    uint64_t digest = envelope->recipients.num;
    for (size_t i = 0; i < envelope->recipients.num; i++)
        digest =
            digest * 0x100000001b3u ^ bytes_hash(bytes_of(envelope->recipients.items[i].mailbox));
    return (uint32_t)(digest ^ digest >> 32);
}

void message_free(struct message *message)
{
    if (!message)
        return;
    content_fini(&message->content);
    if (message->has_envelope)
        envelope_fini(&message->envelope);
    free(message->recipients);
    free(message->path);
    free(message);
}
