/* powercut: records a run of the router over a simulated disk, then cuts the power at every point
 * of it. README.md says how; this file is only the command line. */
#include "tests/powercut/check.h"
#include "tests/powercut/resume.h"
#include "tests/powercut/simulated_calls.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    struct run_options run;
    struct check_options check;
    unsigned long at_percent;
};

static int usage(void)
{
    fputs("usage: powercut record FILE [--messages=N] [--durability=group|strict]\n"
          "                [--in-doubt=retry|hold]\n"
          "       powercut check FILE [--order=ordered|folders] [--singles=N] [--random=N]\n"
          "                [--drain-every=N] [--processes=N] [--seed=N] [--cut=N] [--subset=N] "
          "[--keep=FOLDER]\n"
          "       powercut resume FILE NEW-FILE --at=PERCENT [--subset=N] [--seed=N]\n"
          "       powercut show FILE\n",
          stderr);
    return 64;
}

static bool parse(int argc, char **argv, struct arguments *out)
{
    enum {
        MESSAGES = 256,
        DURABILITY,
        IN_DOUBT,
        ORDER,
        SINGLES,
        RANDOM,
        DRAIN,
        PROCESSES,
        SEED,
        CUT,
        SUBSET,
        KEEP,
        AT
    };
    static const struct option options[] = {
        {"messages", required_argument, NULL, MESSAGES},
        {"durability", required_argument, NULL, DURABILITY},
        {"in-doubt", required_argument, NULL, IN_DOUBT},
        {"order", required_argument, NULL, ORDER},
        {"singles", required_argument, NULL, SINGLES},
        {"random", required_argument, NULL, RANDOM},
        {"drain-every", required_argument, NULL, DRAIN},
        {"processes", required_argument, NULL, PROCESSES},
        {"seed", required_argument, NULL, SEED},
        {"cut", required_argument, NULL, CUT},
        {"subset", required_argument, NULL, SUBSET},
        {"keep", required_argument, NULL, KEEP},
        {"at", required_argument, NULL, AT},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned long number = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (c) {
        case MESSAGES:
            out->run.num_messages = (unsigned)number;
            break;
        case DURABILITY:
            out->run.durability = optarg;
            break;
        case IN_DOUBT:
            out->run.in_doubt = optarg;
            break;
        case ORDER:
            out->check.order = strcmp(optarg, "folders") == 0 ? MODEL_FOLDERS : MODEL_ORDERED;
            break;
        case SINGLES:
            out->check.num_singles = (unsigned)number;
            break;
        case RANDOM:
            out->check.num_random = (unsigned)number;
            break;
        case DRAIN:
            out->check.drain_every = (unsigned)number;
            break;
        case PROCESSES:
            out->check.num_processes = number ? (unsigned)number : 1;
            break;
        case SEED:
            out->check.seed = number;
            break;
        case CUT:
            out->check.only_cut = (long)number;
            break;
        case SUBSET:
            out->check.only_subset = (long)number;
            break;
        case AT:
            out->at_percent = number;
            break;
        case KEEP:
            out->check.keep = optarg;
            break;
        default:
            return false;
        }
    }
    return optind <= argc - 2;
}

/* The first note of a recording says how it was made. */
static void note_run(struct events *events, const struct run_options *run)
{
    struct event *event = events_add(events, EVENT_STORED);
    snprintf(event->name, sizeof event->name, "%s", run->durability);
    snprintf(event->name2, sizeof event->name2, "%s", run->in_doubt);
    event->size = run->num_messages;
}

/* A recording in which a part of the script never happened proves nothing about it. */
static bool has_all(const struct events *events)
{
    static const char *const records[] = {"intent", "outcome", "deferred", "removed", "copy"};
    bool kinds[EVENT_KINDS] = {false}, stored[sizeof records / sizeof *records] = {false};
    bool ok = true;
    for (size_t i = 1; i < events->num; i++) {
        const struct event *event = &events->items[i];
        kinds[event->kind] = true;
        for (size_t r = 0; event->kind == EVENT_STORED && r < sizeof records / sizeof *records; r++)
            stored[r] |= strcmp(event->name, records[r]) == 0;
    }
    for (int kind = EVENT_CREATE; kind < EVENT_PROMISED; kind++)
        if (!kinds[kind]) {
            fprintf(stderr, "nothing of this kind was recorded: %s\n",
                    event_kind_name((enum event_kind)kind));
            ok = false;
        }
    for (size_t r = 0; r < sizeof records / sizeof *records; r++)
        if (!stored[r]) {
            fprintf(stderr, "no record of this kind was stored: %s\n", records[r]);
            ok = false;
        }
    return ok;
}

static int record(const struct run_options *run, const char *path)
{
    struct events events = {0};
    struct disk disk;
    disk_init(&disk);
    note_run(&events, run);
    record_init();
    bool ok = record_script(run, &disk, &events) && has_all(&events);
    if (!events_save(&events, path)) {
        fprintf(stderr, "cannot write %s\n", path);
        ok = false;
    }
    printf("%s: %zu events\n", path, events.num);
    events_fini(&events);
    disk_fini(&disk);
    return ok ? 0 : 1;
}

/* Goes on from the middle of a recording: the process was killed there, or, with a subset, the
 * power was cut. */
static int resume(const struct events *events, const struct arguments *arguments, const char *path)
{
    size_t cut = events->num * arguments->at_percent / 100;
    uint32_t device = arguments->check.only_subset == CHECK_ALL ? RECORD_DEVICE : RESUME_DEVICE;
    struct events resumed = {0};
    struct disk disk;
    resume_begin(events, cut, &arguments->check, arguments->run.num_messages, &resumed, &disk);
    record_init();
    bool ok = record_drain(&arguments->run, &disk, &resumed, device);
    if (!events_save(&resumed, path)) {
        fprintf(stderr, "cannot write %s\n", path);
        ok = false;
    }
    printf("%s: %zu events\n", path, resumed.num);
    events_fini(&resumed);
    disk_fini(&disk);
    return ok ? 0 : 1;
}

static int show(const struct events *events)
{
    char text[700];
    for (size_t i = 0; i < events->num; i++) {
        event_describe(&events->items[i], text);
        printf("%zu %s\n", i, text);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {
        .run = {.durability = "group", .in_doubt = "retry", .num_messages = 44},
        .check = {.num_random = 4,
                  .num_processes = 2,
                  .seed = 1,
                  .only_cut = CHECK_ALL,
                  .only_subset = CHECK_ALL},
    };
    struct events events = {0};
    if (!parse(argc, argv, &arguments))
        return usage();
    const char *command = argv[optind], *path = argv[optind + 1];
    if (strcmp(command, "record") == 0)
        return record(&arguments.run, path);
    if (!events_load(&events, path)) {
        fprintf(stderr, "%s is no recording\n", path);
        return 1;
    }
    arguments.run.durability = events.items[0].name;
    arguments.run.in_doubt = events.items[0].name2;
    arguments.run.num_messages = (unsigned)events.items[0].size;
    if (strcmp(command, "resume") == 0 && optind == argc - 3)
        return resume(&events, &arguments, argv[optind + 2]);
    if (strcmp(command, "show") == 0)
        return show(&events);
    if (strcmp(command, "check") == 0)
        return check_recording(&events, &arguments.run, &arguments.check, path) ? 0 : 1;
    return usage();
}
