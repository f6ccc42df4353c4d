/* libbpf's perf buffer: one ring for each CPU of `online`. A program that the kernel runs on each CPU sends
 * events: those of each CPU on which the container's threads can run must arrive. Runs with a quota of 1 CPU. */
#include "regression.h"
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <time.h>

static long events[CPU_SETSIZE];

static void arrived(void *unused, int cpu, void *data, __u32 size) {
	(void)unused, (void)data, (void)size;
	must(cpu >= 0 && cpu < CPU_SETSIZE);
	events[cpu]++;
}

static int program(int map) {
	const struct bpf_insn code[] = {
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8, .imm = 1},
		{.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
		{0},
		{.code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = -1}, /* BPF_F_CURRENT_CPU */
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_4, .src_reg = BPF_REG_10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_4, .imm = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_5, .imm = 8},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_perf_event_output},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	return bpf_prog_load(BPF_PROG_TYPE_PERF_EVENT, "events", "GPL", code, sizeof code / sizeof *code, 0);
}

int main(void) {
	cpu_set_t real;
	CPU_ZERO(&real);
	must(raw(SYS_sched_getaffinity, 0, sizeof real, (long)&real, 0, 0, 0) > 0);
	if (CPU_COUNT(&real) < 2) cannot("one CPU only");
	int map = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "rings", 4, 4, libbpf_num_possible_cpus(), 0);
	if (map < 0) cannot("no BPF here");
	struct perf_buffer *buffer = perf_buffer__new(map, 8, arrived, 0, 0, 0);
	must(!libbpf_get_error(buffer));
	int code = program(map);
	if (code < 0) cannot("no BPF program of this kind here");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &real)) continue;
		struct perf_event_attr clock = {.type = PERF_TYPE_SOFTWARE, .size = sizeof clock,
			.config = PERF_COUNT_SW_CPU_CLOCK, .freq = 1, .sample_freq = 99};
		int event = syscall(SYS_perf_event_open, &clock, -1, cpu, -1, 0);
		must(event >= 0 && !ioctl(event, PERF_EVENT_IOC_SET_BPF, code) && !ioctl(event, PERF_EVENT_IOC_ENABLE, 0));
	}
	/* A CPU may be busy with other programs: wait up to half a minute. */
	int missing = 1;
	for (time_t end = time(0) + 30; missing && time(0) < end;) {
		must(perf_buffer__poll(buffer, 100) >= 0);
		missing = 0;
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) missing += CPU_ISSET(cpu, &real) && events[cpu] < 5;
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &real) && events[cpu] < 5) fail("%ld events of CPU %d", events[cpu], cpu);
}
