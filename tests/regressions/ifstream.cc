/* std::ifstream: libstdc++ reads the fileno of a FILE; seekg(0) refreshes it. */
#include "regression.h"
#include <fstream>
#include <sstream>
#include <thread>

static std::string all(std::ifstream &file) {
	std::stringstream text;
	text << file.rdbuf();
	return text.str();
}

int main() {
	std::ifstream file("/proc/meminfo");
	says(all(file).c_str(), number_of("MEM_KB"), "ifstream");
	std::ifstream online("/sys/devices/system/cpu/online");
	std::string list;
	std::getline(online, list);
	must(list == (number_of("CPUS") > 1 ? "0-" + std::to_string(number_of("CPUS") - 1) : "0"));
	must((long)std::thread::hardware_concurrency() == number_of("CPUS"));
	set_memory(300 << 10);
	file.clear();
	file.seekg(0);
	says(all(file).c_str(), 300 << 10, "ifstream after seekg(0)");
}
