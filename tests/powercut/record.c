/* Writers, configuration and runs. It judges nothing. */
#include "tests/powercut/record.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "router/router.h"
#include "tests/powercut/message.h"
#include "tests/powercut/peer.h"
#include "tests/powercut/simulated_calls.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static uint16_t peer_port;

void record_init(void)
{
    peer_port = peer_start();
    log_set_level(LOG_LEVEL_ERROR);
}

static int open_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void sync_folder(int folder)
{
    CHECK(fsync(folder) == 0);
}

/* As programs write: a buffer at a time. */
static void write_file(int folder, const char *name, struct bytes text, bool sync)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    CHECK(fd >= 0);
    while (text.len) {
        struct bytes part = bytes_first(text, 4096);
        CHECK(write(fd, part.at, part.len) == (ssize_t)part.len);
        text = bytes_from(text, part.len);
    }
    if (sync)
        CHECK(fsync(fd) == 0);
    close(fd);
}

static void drop(const struct script_message *message)
{
    bool sub = message->drop == DROP_SUBFOLDER;
    struct bytes text = buffer_bytes(&message->text);
    int tmp = open_folder(SIMULATED_ROOT "/tmp");
    int into = open_folder(sub ? SIMULATED_ROOT "/new/sub" : SIMULATED_ROOT "/new");
    switch (message->drop) {
    case DROP_RENAME_SYNCED:
    case DROP_SUBFOLDER:
    case DROP_RENAME:
        write_file(tmp, message->name, text, message->drop != DROP_RENAME);
        CHECK(renameat(tmp, message->name, into, message->name) == 0);
        break;
    case DROP_COPY_SYNCED:
    case DROP_COPY:
        write_file(into, message->name, text, message->drop == DROP_COPY_SYNCED);
        break;
    case DROP_LINK_SYNCED:
        write_file(tmp, message->name, text, true);
        CHECK(linkat(tmp, message->name, into, message->name, 0) == 0);
        CHECK(unlinkat(tmp, message->name, 0) == 0);
        sync_folder(tmp);
        break;
    case DROP_KINDS:
        break;
    }
    if (message->drop != DROP_RENAME && message->drop != DROP_COPY)
        sync_folder(into);
    close(into);
    close(tmp);
}

struct part {
    unsigned from, to;
};

static void *drop_part(void *ctx)
{
    const struct part *part = ctx;
    for (unsigned i = part->from; i < part->to; i++)
        drop(message_get(i));
    return NULL;
}

/* A spool as an operator would make it, before the first message. */
static void make_folders(void)
{
    static const char *const folders[] = {"/tmp", "/new", "/new/sub"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[64];
        snprintf(path, sizeof path, SIMULATED_ROOT "%s", folders[i]);
        CHECK(mkdir(path, 0750) == 0);
    }
    int root = open_folder(SIMULATED_ROOT), new_folder = open_folder(SIMULATED_ROOT "/new");
    sync_folder(root);
    sync_folder(new_folder);
    close(new_folder);
    close(root);
}

static bool run_router(const struct run_options *options)
{
    char text[1024], why[CONFIG_WHY_MAX];
    snprintf(text, sizeof text,
             "hostname = \"sluice.test\"\nspool = \"" SIMULATED_ROOT "\"\nworkers = 2\n"
             "pickup {\n settle = \"0s\"\n}\n"
             "queue {\n durability = \"%s\"\n in_doubt = \"%s\"\n commit_interval = \"2ms\"\n}\n"
             "retry {\n minimum = \"100ms\"\n maximum = \"100ms\"\n}\n"
             "log {\n level = \"error\"\n}\n"
             "destination \"*\" {\n next_hop = \"[127.0.0.1]:%u\"\n idle = \"50ms\"\n}\n",
             options->durability, options->in_doubt, peer_port);
    struct config *config = config_parse(text, "power cut", why);
    if (!config) {
        fprintf(stderr, "%s\n", why);
        return false;
    }
    const struct router_options run = {.config = config, .until_empty = true};
    int code = router_run(&run);
    /* What is held is mail that is left. */
    bool ok = code == 0 || (code == EX_TEMPFAIL && strcmp(options->in_doubt, "hold") == 0);
    if (!ok)
        fprintf(stderr, "the router ended with %d\n", code);
    return ok;
}

bool record_script(const struct run_options *options, struct disk *disk, struct events *events)
{
    unsigned first = options->num_messages / 4, last = options->num_messages * 7 / 8;
    struct part before = {0, first}, meanwhile = {first, last};
    struct part after = {last, options->num_messages};
    pthread_t writer;
    simulated_mount(disk, events, RECORD_DEVICE);
    peer_forget();
    make_folders();
    drop_part(&before);
    CHECK(pthread_create(&writer, NULL, drop_part, &meanwhile) == 0);
    bool ok = run_router(options);
    pthread_join(writer, NULL);
    drop_part(&after);
    ok = ok && run_router(options);
    simulated_mount(NULL, NULL, 0);
    return ok;
}

bool record_drain(const struct run_options *options, struct disk *disk, struct events *events,
                  uint32_t device)
{
    simulated_mount(disk, events, device);
    peer_forget();
    bool ok = run_router(options);
    simulated_mount(NULL, NULL, 0);
    return ok;
}
