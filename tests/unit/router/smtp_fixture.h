/* A message, a delivery and a configuration built by hand, for tests and fuzz targets of the SMTP
 * machine. */
#ifndef SLUICE_TESTS_UNIT_ROUTER_SMTP_FIXTURE_H
#define SLUICE_TESTS_UNIT_ROUTER_SMTP_FIXTURE_H

#include "base/memory.h"
#include "router/smtp_session.h"

#define FIXTURE_CONTENT "Subject: a test\r\n\r\nhello\r\n"

struct smtp_fixture {
    struct config config;
    struct message message;
    struct delivery *delivery; /* owned */
};

/* Recipients are r0@b.test, r1@b.test ... */
static inline void fixture_init(struct smtp_fixture *fixture, uint32_t num_recipients)
{
    *fixture = (struct smtp_fixture){0};
    fixture->config.smtp.banner_timeout_ms = 1000;
    fixture->config.smtp.ehlo_timeout_ms = 2000;
    fixture->config.smtp.starttls_timeout_ms = 3000;
    fixture->config.smtp.auth_timeout_ms = 3500;
    fixture->config.smtp.mail_timeout_ms = 4000;
    fixture->config.smtp.rcpt_timeout_ms = 5000;
    fixture->config.smtp.data_timeout_ms = 6000;
    fixture->config.smtp.content_timeout_ms = 7000;
    fixture->config.smtp.final_timeout_ms = 8000;
    fixture->config.smtp.content_min_rate = 500;
    fixture->config.smtp.one_flight_max = 64 * 1024;

    struct message *message = &fixture->message;
    message->envelope.sender.mailbox = mem_strdup("s@a.test");
    message->envelope.recipients.items = mem_zalloc(num_recipients, sizeof(struct address));
    message->envelope.recipients.num = num_recipients;
    message->content.file = bytes_of(FIXTURE_CONTENT);
    message->content.file_len = message->content.file.len;
    message->content.class.wire_len = message->content.file.len;
    fixture->delivery = delivery_new(message, num_recipients);
    fixture->delivery->domain = "b.test";
    for (uint32_t i = 0; i < num_recipients; i++) {
        message->envelope.recipients.items[i].mailbox = mem_printf("r%u@b.test", i);
        fixture->delivery->recipients[i].index = i;
    }
}

static inline void fixture_fini(struct smtp_fixture *fixture)
{
    free(fixture->message.envelope.sender.mailbox);
    for (size_t i = 0; i < fixture->message.envelope.recipients.num; i++)
        free(fixture->message.envelope.recipients.items[i].mailbox);
    free(fixture->message.envelope.recipients.items);
    delivery_free(fixture->delivery);
}

#endif
